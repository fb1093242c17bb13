#ifndef LONGWAVE_CLIENT_CLI_ERROR_TEXT_H_
#define LONGWAVE_CLIENT_CLI_ERROR_TEXT_H_

#include <string>

#include "absl/status/status.h"

namespace longwave::cli {

// An error for people: code, reason, what failed, field, value and limit, and when to try again.
// For a server that is not there: which one, and what to do.
std::string DescribeError(const absl::Status& status, const std::string& server);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_ERROR_TEXT_H_
