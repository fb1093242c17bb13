#ifndef LONGWAVE_MODEL_WEIGHTS_FILE_H_
#define LONGWAVE_MODEL_WEIGHTS_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave {

// The whole of a regular file, in owned memory: what is checked cannot change afterwards. Errors
// name the file's base name. NOT_FOUND: there is none; INVALID_ARGUMENT: not a regular file, or
// larger than `max_bytes` (nothing is read then), or its size changed while it was read.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);

// SHA-256 in lower-case hex.
std::string Sha256Hex(absl::string_view bytes);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_FILE_H_
