#include "client/health_check.h"

#include "client/error_info.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace longwave::client {

absl::StatusOr<HealthStatus> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                         const std::string& service, Deadline deadline) {
  grpc::ClientContext context;
  context.set_deadline(ToGrpcTime(deadline));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  grpc::health::v1::HealthCheckResponse response;
  absl::Status status = FromGrpcStatus(
      grpc::health::v1::Health::NewStub(channel)->Check(&context, request, &response));
  if (!status.ok()) return status;
  return response.status();
}

}  // namespace longwave::client
