#ifndef LONGWAVE_CLIENT_CLI_JSONL_WRITER_H_
#define LONGWAVE_CLIENT_CLI_JSONL_WRITER_H_

#include <memory>
#include <string>

#include "client/cli/row_writer.h"

namespace longwave::cli {

// A line for each row: {"id": document, "row": number within the document, "embedding": [...]};
// with "begin" and "end" before the last, in tokens, where rows are vectors of parts of the
// document. Numbers are the shortest that read back as the same float.
class JsonlWriter final : public RowWriter {
 public:
  explicit JsonlWriter(std::unique_ptr<OutputFile> file) : RowWriter(std::move(file)) {}

 private:
  absl::Status AddRows(absl::Span<const float> values) override;
  absl::Status WriteFrame(const OutputProperties& properties) override;
};

// Shortest text that reads back as the same float; "null" for what JSON has no number for.
void AppendJsonNumber(float value, std::string* out);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_JSONL_WRITER_H_
