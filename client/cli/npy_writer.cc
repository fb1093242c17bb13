#include "client/cli/npy_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave::cli {
namespace {

// Always the same size, so that the rows can be written before their number is known: the text is
// at most 100 bytes long with the largest numbers, and the format wants a multiple of 64.
constexpr size_t kHeaderBytes = 128;

std::string Header(ElementType type, int64_t rows, int64_t dim) {
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(kHeaderBytes - 10));  // the text's length, little-endian
  header.push_back(0);
  absl::StrAppend(&header, "{'descr': '", type == ElementType::kFloat16 ? "<f2" : "<f4",
                  "', 'fortran_order': False, 'shape': (", rows, ", ", dim, "), }");
  header.resize(kHeaderBytes - 1, ' ');
  header.push_back('\n');
  return header;
}

// NumPy has no bfloat16.
ElementType Storable(ElementType type) {
  return type == ElementType::kBFloat16 ? ElementType::kFloat32 : type;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowWriter>> NpyWriter::Create(std::unique_ptr<OutputFile> file,
                                                             ElementType type) {
  type = Storable(type);
  if (file->size() == 0) {
    absl::Status reserved = file->Append(Header(type, 0, 0));
    if (!reserved.ok()) return reserved;
  }
  return std::unique_ptr<RowWriter>(new NpyWriter(std::move(file), type));
}

absl::Status NpyWriter::AddRows(absl::Span<const float> values) {
  buffer_.clear();
  AppendElements(values, type_, &buffer_);
  return file().Append(buffer_);
}

absl::Status NpyWriter::WriteFrame(const OutputProperties&) {
  return file().Overwrite(0, Header(type_, rows(), std::max<int64_t>(dim(), 0)));
}

NpyPipeWriter::NpyPipeWriter(std::unique_ptr<OutputFile> file, ElementType type)
    : RowWriter(std::move(file)), type_(Storable(type)) {}

absl::Status NpyPipeWriter::BeginRows() {
  return file().Append(Header(type_, document().rows, dim()));
}

absl::Status NpyPipeWriter::AddRows(absl::Span<const float> values) {
  buffer_.clear();
  AppendElements(values, type_, &buffer_);
  return file().Append(buffer_);
}

}  // namespace longwave::cli
