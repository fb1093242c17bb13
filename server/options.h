#ifndef LONGWAVE_SERVER_OPTIONS_H_
#define LONGWAVE_SERVER_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/model_options.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"
#include "server/rpc/rpc_options.h"
#include "server/scheduling/scheduler.h"
#include "server/security/security_options.h"

namespace longwave {

// How the server leaves (SIGTERM, SIGINT).
struct DrainOptions {
  // How long calls are still taken after health has said NOT_SERVING: longer than balancers need
  // to notice. Unset: 0 on a loopback address, where nobody balances, 5 s elsewhere.
  std::optional<double> delay_seconds;
  // How long calls in flight may go on after that. The longest unary deadline by default, so that
  // none is cut off.
  double grace_seconds = 120;
  // Refuse sequences that are predicted to take longer than the grace.
  bool refuse_beyond_grace = true;

  absl::Status Validate() const;
};

// Everything that can be set at start, one struct per concern.
struct ServerOptions {
  ModelOptions model;
  PortOptions port;
  SecurityOptions security;
  CallOptions calls;
  SchedulerOptions scheduler;
  MetricsOptions metrics;
  DrainOptions drain;
  // One slice of computation that takes longer means that the device hangs; 0: never.
  double hang_seconds = 120;
  LogLevel log_level = LogLevel::kInfo;
  // A file that gets the port's number once it is open; empty: none.
  std::string port_file;
};

// What the command line asks for.
struct CommandLine {
  enum class Action { kServe, kCheckConfig, kHelp, kVersion };
  Action action = Action::kServe;
  ServerOptions options;
  std::string help;  // kHelp: the text
};

// Reads and checks the flags (without the program's name). INVALID_ARGUMENT lists every problem,
// one a line, each naming its flag.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OPTIONS_H_
