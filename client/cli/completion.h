#ifndef LONGWAVE_CLIENT_CLI_COMPLETION_H_
#define LONGWAVE_CLIENT_CLI_COMPLETION_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave::cli {

// A script, from the command table, that makes a shell complete commands, options and the values
// that are words of a closed list or files. INVALID_ARGUMENT lists the shells.
absl::StatusOr<std::string> Completion(absl::string_view shell);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_COMPLETION_H_
