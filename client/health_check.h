#ifndef LONGWAVE_CLIENT_HEALTH_CHECK_H_
#define LONGWAVE_CLIENT_HEALTH_CHECK_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/deadline.h"
#include "grpc/health/v1/health.pb.h"

namespace longwave::client {

// SERVING, NOT_SERVING, ...
using HealthStatus = grpc::health::v1::HealthCheckResponse::ServingStatus;

// Asks grpc.health.v1.Health/Check about `service` (empty: the server as a whole). NOT_FOUND if the
// server does not know the service.
absl::StatusOr<HealthStatus> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                         const std::string& service, Deadline deadline);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_HEALTH_CHECK_H_
