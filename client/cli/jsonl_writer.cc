#include "client/cli/jsonl_writer.h"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"

namespace longwave::cli {

void AppendJsonNumber(float value, std::string* out) {
  if (!std::isfinite(value)) {
    out->append("null");
    return;
  }
  char text[32];
  const auto result = std::to_chars(text, text + sizeof(text), value);
  out->append(text, result.ptr);
}

absl::Status JsonlWriter::AddRows(absl::Span<const float> values) {
  const std::string name = nlohmann::json(document().name)
                               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::vector<client::TokenSpan>& spans = document().spans;
  std::string line;
  int64_t row = document_rows();
  for (size_t begin = 0; begin < values.size(); begin += dim(), ++row) {
    line = absl::StrCat("{\"id\": ", name, ", \"row\": ", row);
    if (!spans.empty()) {
      absl::StrAppend(&line, ", \"begin\": ", spans[row].begin, ", \"end\": ", spans[row].end);
    }
    line.append(", \"embedding\": [");
    for (int64_t i = 0; i < dim(); ++i) {
      if (i > 0) line.append(", ");
      AppendJsonNumber(values[begin + i], &line);
    }
    line.append("]}\n");
    absl::Status written = file().Append(line);
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

absl::Status JsonlWriter::WriteFrame(const OutputProperties&) { return absl::OkStatus(); }

}  // namespace longwave::cli
