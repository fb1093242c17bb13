#ifndef LONGWAVE_CLIENT_CLI_RAW_WRITER_H_
#define LONGWAVE_CLIENT_CLI_RAW_WRITER_H_

#include <memory>
#include <string>
#include <utility>

#include "client/cli/row_writer.h"

namespace longwave::cli {

// The values and nothing else, little-endian, row after row: for programs that know what comes.
class RawWriter final : public RowWriter {
 public:
  RawWriter(std::unique_ptr<OutputFile> file, ElementType type)
      : RowWriter(std::move(file)), type_(type) {}

 private:
  absl::Status AddRows(absl::Span<const float> values) override {
    buffer_.clear();
    AppendElements(values, type_, &buffer_);
    return file().Append(buffer_);
  }
  absl::Status WriteFrame(const OutputProperties&) override { return absl::OkStatus(); }

  const ElementType type_;
  std::string buffer_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_RAW_WRITER_H_
