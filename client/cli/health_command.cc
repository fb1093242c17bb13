#include "client/cli/commands.h"
#include "client/cli/error_text.h"
#include "client/client.h"

namespace longwave::cli {

ExitCode RunHealth(const HealthArguments& arguments, std::ostream& out, std::ostream& err) {
  using Response = grpc::health::v1::HealthCheckResponse;
  auto client = client::Client::Create({.target = arguments.server});
  absl::Status status = client.status();
  client::HealthStatus health = Response::UNKNOWN;
  if (status.ok()) {
    const auto answer = (*client)->Health(arguments.service, arguments.timeout);
    status = answer.status();
    if (answer.ok()) health = *answer;
  }
  if (!status.ok()) {
    if (!arguments.quiet) err << "longwave: " << DescribeError(status, arguments.server) << "\n";
    // To a probe, no answer in time is no server.
    return absl::IsDeadlineExceeded(status) ? kExitUnavailable : ExitCodeOf(status);
  }
  if (!arguments.quiet) out << Response::ServingStatus_Name(health) << "\n";
  return health == Response::SERVING ? kExitOk : kExitUnavailable;
}

}  // namespace longwave::cli
