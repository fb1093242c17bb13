#ifndef LONGWAVE_CLIENT_CLI_EXIT_CODE_H_
#define LONGWAVE_CLIENT_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace longwave::cli {

// What `longwave` ends with; scripts and probes rely on the numbers.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,        // something on this side: output that cannot be written, say
  kExitUsage = 2,         // wrong arguments, or input that cannot be read
  kExitUnavailable = 3,   // no server there, or not serving
  kExitRefused = 4,       // the server said no, or not in time
  kExitPartial = 5,       // some inputs succeeded and some did not
  kExitInvalid = 6,       // a measurement that must not be believed
  kExitWrongReplies = 7,  // replies that contradict each other
};

// The code for a server's answer.
inline ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  return absl::IsUnavailable(status) ? kExitUnavailable : kExitRefused;
}

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_EXIT_CODE_H_
