#ifndef LONGWAVE_CLIENT_CLI_SAFETENSORS_WRITER_H_
#define LONGWAVE_CLIENT_CLI_SAFETENSORS_WRITER_H_

#include <memory>
#include <string>

#include "client/cli/row_writer.h"

namespace longwave::cli {

// Tensors: `embeddings` [rows, dim] with all documents' rows one after the other, and
// `row_offsets` [documents + 1] (I64): document d has the rows [row_offsets[d], row_offsets[d +
// 1]). Where rows are vectors of parts of documents, `row_spans` [rows, 2] (I64) has the tokens of
// each: begin and end. The metadata holds the documents' names as a JSON list, and the properties
// given to Finish.
class SafetensorsWriter final : public RowWriter {
 public:
  static absl::StatusOr<std::unique_ptr<RowWriter>> Create(std::unique_ptr<OutputFile> file,
                                                           ElementType type);

 private:
  SafetensorsWriter(std::unique_ptr<OutputFile> file, ElementType type)
      : RowWriter(std::move(file)), type_(type) {}
  absl::Status AddRows(absl::Span<const float> values) override;
  absl::Status WriteFrame(const OutputProperties& properties) override;
  std::string MakeHeader(const OutputProperties& properties, int64_t row_bytes) const;

  const ElementType type_;
  std::string buffer_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_SAFETENSORS_WRITER_H_
