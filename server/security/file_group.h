#ifndef LONGWAVE_SERVER_SECURITY_FILE_GROUP_H_
#define LONGWAVE_SERVER_SECURITY_FILE_GROUP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace longwave {

// Far above any bundle of certificates or list of tenants.
inline constexpr int64_t kMaxSecurityFileBytes = 1 << 20;

// The contents of files that belong together, each read whole and at once: read again until two
// rounds in a row agree, so that a swap of the folder between two files is not seen as a pair that
// never was. What is half written is for the reader of the contents to find. Errors name the file.
absl::StatusOr<std::vector<std::string>> ReadFileGroup(const std::vector<std::string>& paths);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_FILE_GROUP_H_
