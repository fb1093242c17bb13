#include "client/cli/safetensors_writer.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

namespace longwave::cli {
namespace {

using nlohmann::json;

// The header stands before the rows and its length is known behind them. This much room is left for
// it; only names of very many documents take more, and then the rows are moved once.
constexpr int64_t kReservedBytes = 4096;
constexpr int64_t kAlignment = 8;  // of the tensors in the file

const char* TypeName(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
      return "F16";
    case ElementType::kBFloat16:
      return "BF16";
    case ElementType::kFloat32:
      return "F32";
  }
  return "F32";
}

int64_t RoundUp(int64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

absl::StatusOr<std::unique_ptr<RowWriter>> SafetensorsWriter::Create(
    std::unique_ptr<OutputFile> file, ElementType type) {
  if (file->size() == 0) {
    absl::Status reserved = file->Append(std::string(kReservedBytes, ' '));
    if (!reserved.ok()) return reserved;
  }
  return std::unique_ptr<RowWriter>(new SafetensorsWriter(std::move(file), type));
}

absl::Status SafetensorsWriter::AddRows(absl::Span<const float> values) {
  buffer_.clear();
  AppendElements(values, type_, &buffer_);
  return file().Append(buffer_);
}

std::string SafetensorsWriter::MakeHeader(const OutputProperties& properties,
                                          int64_t row_bytes) const {
  json names = json::array();
  for (const auto& [name, first_row] : documents()) names.push_back(name);
  const auto replace = json::error_handler_t::replace;  // names need not be UTF-8
  json metadata = json::object();
  for (const auto& [key, value] : properties) metadata[key] = value;
  metadata["documents"] = names.dump(-1, ' ', false, replace);
  const int64_t offsets = static_cast<int64_t>(documents().size()) + 1;
  const int64_t spans = static_cast<int64_t>(this->spans().size());
  const int64_t offsets_end = row_bytes + 8 * offsets;
  json header = {
      {"__metadata__", metadata},
      {"embeddings",
       {{"dtype", TypeName(type_)},
        {"shape", {rows(), std::max<int64_t>(dim(), 0)}},
        {"data_offsets", {0, row_bytes}}}},
      {"row_offsets",
       {{"dtype", "I64"}, {"shape", {offsets}}, {"data_offsets", {row_bytes, offsets_end}}}}};
  if (spans > 0) {
    header["row_spans"] = {{"dtype", "I64"},
                           {"shape", {spans, 2}},
                           {"data_offsets", {offsets_end, offsets_end + 16 * spans}}};
  }
  return header.dump(-1, ' ', false, replace);
}

absl::Status SafetensorsWriter::WriteFrame(const OutputProperties& properties) {
  // The format allows no holes, so the offsets follow the rows directly, wherever that is.
  const int64_t row_bytes = file().size() - kReservedBytes;
  std::string header = MakeHeader(properties, row_bytes);
  const int64_t begin = std::max(kReservedBytes, RoundUp(8 + static_cast<int64_t>(header.size())));
  if (begin > kReservedBytes) {
    absl::Status moved = file().Shift(kReservedBytes, begin - kReservedBytes);
    if (!moved.ok()) return moved;
  }
  header.resize(static_cast<size_t>(begin - 8), ' ');
  const uint64_t length = header.size();
  std::string front(reinterpret_cast<const char*>(&length), 8);
  absl::Status written = file().Overwrite(0, front + header);
  if (!written.ok()) return written;

  std::string offsets;
  const auto append = [&offsets](int64_t row) {
    offsets.append(reinterpret_cast<const char*>(&row), sizeof(row));
  };
  for (const auto& [name, first_row] : documents()) append(first_row);
  append(rows());
  for (const client::TokenSpan& span : spans()) {
    append(span.begin);
    append(span.end);
  }
  return file().Append(offsets);
}

}  // namespace longwave::cli
