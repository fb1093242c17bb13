#include "client/cli/commands.h"
#include "client/cli/error_text.h"
#include "client/client.h"

namespace longwave::cli {

ExitCode RunHealth(const HealthArguments& arguments, std::ostream& out, std::ostream& err) {
  using Response = grpc::health::v1::HealthCheckResponse;
  auto client = Connect(arguments.server, arguments.access);
  if (!client.ok()) {
    err << "longwave: " << client.status().message() << "\n";
    return kExitUsage;
  }
  const auto health = (*client)->Health(arguments.service, arguments.timeout);
  if (const absl::Status& status = health.status(); !status.ok()) {
    if (!arguments.quiet) err << "longwave: " << DescribeError(status, arguments.server) << "\n";
    // To a probe, no answer in time is no server.
    return absl::IsDeadlineExceeded(status) ? kExitUnavailable : ExitCodeOf(status);
  }
  if (!arguments.quiet) out << Response::ServingStatus_Name(*health) << "\n";
  return *health == Response::SERVING ? kExitOk : kExitUnavailable;
}

}  // namespace longwave::cli
