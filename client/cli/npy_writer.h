#ifndef LONGWAVE_CLIENT_CLI_NPY_WRITER_H_
#define LONGWAVE_CLIENT_CLI_NPY_WRITER_H_

#include <memory>
#include <string>

#include "client/cli/row_writer.h"

namespace longwave::cli {

// One array [rows, dim] in NumPy's format 1.0: all documents' rows one after the other. '<f4', or
// '<f2' for half precision; bfloat16, which NumPy does not have, is written as '<f4'.
class NpyWriter final : public RowWriter {
 public:
  static absl::StatusOr<std::unique_ptr<RowWriter>> Create(std::unique_ptr<OutputFile> file,
                                                           ElementType type);

 private:
  NpyWriter(std::unique_ptr<OutputFile> file, ElementType type)
      : RowWriter(std::move(file)), type_(type) {}
  absl::Status AddRows(absl::Span<const float> values) override;
  absl::Status WriteFrame(const OutputProperties& properties) override;

  const ElementType type_;
  std::string buffer_;
};

// Into a pipe, where nothing can be written over: an array [rows, dim] for each document, one
// behind the other, as numpy.load reads them from one open file by one call each.
class NpyPipeWriter final : public RowWriter {
 public:
  NpyPipeWriter(std::unique_ptr<OutputFile> file, ElementType type);

 private:
  absl::Status BeginRows() override;
  absl::Status AddRows(absl::Span<const float> values) override;
  absl::Status WriteFrame(const OutputProperties&) override { return absl::OkStatus(); }

  const ElementType type_;
  std::string buffer_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_NPY_WRITER_H_
