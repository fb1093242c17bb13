#include "client/cli/row_writer.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/jsonl_writer.h"
#include "client/cli/npy_writer.h"
#include "client/cli/raw_writer.h"
#include "client/cli/safetensors_writer.h"

namespace longwave::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little-endian");

uint16_t ToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  if (std::isnan(value)) return sign | 0x7E00;
  // The biases differ by 112; a product instead of a difference also sets subnormals right.
  const float scaled = std::fabs(value) * 0x1p-112f;
  const uint32_t magnitude = std::bit_cast<uint32_t>(scaled) >> 13;
  return sign | static_cast<uint16_t>(magnitude < 0x7C00 ? magnitude : 0x7C00);
}

template <typename Word, typename Convert>
void AppendAs(absl::Span<const float> values, Convert convert, std::string* out) {
  const size_t begin = out->size();
  out->resize(begin + values.size() * sizeof(Word));
  char* at = out->data() + begin;
  for (const float value : values) {
    const Word word = convert(value);
    std::memcpy(at, &word, sizeof(Word));
    at += sizeof(Word);
  }
}

}  // namespace

absl::StatusOr<OutputFormat> ParseOutputFormat(absl::string_view name) {
  if (name == "npy") return OutputFormat::kNpy;
  if (name == "jsonl") return OutputFormat::kJsonl;
  if (name == "safetensors") return OutputFormat::kSafetensors;
  if (name == "raw") return OutputFormat::kRaw;
  return absl::InvalidArgumentError("is none of npy, jsonl, safetensors, raw");
}

std::optional<OutputFormat> OutputFormatOfPath(absl::string_view path) {
  if (absl::EndsWithIgnoreCase(path, ".npy")) return OutputFormat::kNpy;
  if (absl::EndsWithIgnoreCase(path, ".jsonl") || absl::EndsWithIgnoreCase(path, ".ndjson")) {
    return OutputFormat::kJsonl;
  }
  if (absl::EndsWithIgnoreCase(path, ".safetensors")) return OutputFormat::kSafetensors;
  if (absl::EndsWithIgnoreCase(path, ".raw")) return OutputFormat::kRaw;
  return std::nullopt;
}

int64_t ElementBytes(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

void AppendElements(absl::Span<const float> values, ElementType type, std::string* out) {
  switch (type) {
    case ElementType::kFloat32:
      out->append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      return;
    case ElementType::kFloat16:
      AppendAs<uint16_t>(values, ToHalf, out);
      return;
    case ElementType::kBFloat16:
      AppendAs<uint16_t>(
          values,
          [](float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); },
          out);
      return;
  }
}

absl::Status RowWriter::Begin(DocumentRows document) {
  if (dim_ >= 0 && document.dim != dim_) {
    return absl::InvalidArgumentError(
        absl::StrCat("rows of ", document.dim, " values do not go into a file of rows of ", dim_));
  }
  if (document.dim <= 0) return absl::InvalidArgumentError("rows without values");
  if (!document.spans.empty() && static_cast<int64_t>(document.spans.size()) != document.rows) {
    return absl::DataLossError(absl::StrCat(document.spans.size(), " spans were asked for, and ",
                                            document.rows, " rows came"));
  }
  BeginAgain(std::move(document), file_->size(), 0);
  return BeginRows();
}

void RowWriter::BeginAgain(DocumentRows document, int64_t begin_bytes, int64_t rows) {
  dim_ = document.dim;
  document_ = std::move(document);
  first_row_ = rows_;
  rows_ += rows;
  begin_bytes_ = begin_bytes;
}

void RowWriter::Skip(DocumentRows document) {
  const int64_t rows = document.rows;
  BeginAgain(std::move(document), file_->size(), rows);
  End();
}

absl::Status RowWriter::Add(absl::Span<const float> values) {
  absl::Status added = AddRows(values);
  if (added.ok()) rows_ += static_cast<int64_t>(values.size()) / dim_;
  return added;
}

void RowWriter::End() {
  documents_.emplace_back(document_.name, first_row_);
  spans_.insert(spans_.end(), document_.spans.begin(), document_.spans.end());
}

absl::Status RowWriter::Abandon() {
  rows_ = first_row_;
  if (documents_.empty()) dim_ = -1;
  return file_->Truncate(begin_bytes_);
}

absl::Status RowWriter::Finish(const OutputProperties& properties) {
  absl::Status framed = Frame(properties);
  return framed.ok() ? Commit() : framed;
}

absl::StatusOr<std::unique_ptr<RowWriter>> MakeRowWriter(std::unique_ptr<OutputFile> file,
                                                         OutputFormat format, ElementType type) {
  switch (format) {
    case OutputFormat::kNpy:
      if (file->is_pipe()) return std::make_unique<NpyPipeWriter>(std::move(file), type);
      return NpyWriter::Create(std::move(file), type);
    case OutputFormat::kSafetensors:
      return SafetensorsWriter::Create(std::move(file), type);
    case OutputFormat::kJsonl:
      return std::make_unique<JsonlWriter>(std::move(file));
    case OutputFormat::kRaw:
      return std::make_unique<RawWriter>(std::move(file), type);
  }
  return absl::InternalError("unknown output format");
}

}  // namespace longwave::cli
