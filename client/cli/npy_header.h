#ifndef LONGWAVE_CLIENT_CLI_NPY_HEADER_H_
#define LONGWAVE_CLIENT_CLI_NPY_HEADER_H_

#include <cstdint>
#include <istream>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// What a .npy file of token ids says of itself.
struct NpyHeader {
  int item_bytes = 0;  // 1, 2, 4 or 8
  bool is_signed = false;
  bool one_document = false;  // one dimension
  int64_t rows = 0;           // 1 where one_document
  int64_t columns = 0;        // rows * columns * item_bytes fits int64; above 0 unless one_document
};

// Reads all that stands before the data, formats 1.0 to 3.0. INVALID_ARGUMENT: it is not a .npy
// file, is damaged, or holds something that no list of ids is; the text names what and the limit.
absl::StatusOr<NpyHeader> ReadNpyHeader(std::istream& in);

// The header's text alone: a Python dictionary of descr, fortran_order and shape.
absl::StatusOr<NpyHeader> ParseNpyHeader(absl::string_view text);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_NPY_HEADER_H_
