#ifndef LONGWAVE_CLIENT_CLI_NPY_SOURCE_H_
#define LONGWAVE_CLIENT_CLI_NPY_SOURCE_H_

#include <cstdint>
#include <istream>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/cli/npy_header.h"
#include "client/cli/record_source.h"

namespace longwave::cli {

// A NumPy file of token ids: an array of one dimension is one document, named as the input, and
// each row r of an array of two is one, "input[r]". Nothing that the header claims is believed
// before the bytes are there: memory grows with what is read. Behind a fault nothing more is read.
class NpySource final : public RecordSource {
 public:
  // `in` and `maker` outlive the source.
  NpySource(std::string name, std::istream& in, const DocumentMaker& maker)
      : name_(std::move(name)), in_(in), maker_(maker) {}

  std::optional<Document> Next() override;

 private:
  absl::StatusOr<std::vector<uint32_t>> ReadRow();

  const std::string name_;
  std::istream& in_;
  const DocumentMaker& maker_;
  std::optional<NpyHeader> header_;  // unset: not read yet
  int64_t next_row_ = 0;
  bool ended_ = false;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_NPY_SOURCE_H_
