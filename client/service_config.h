#ifndef LONGWAVE_CLIENT_SERVICE_CONFIG_H_
#define LONGWAVE_CLIENT_SERVICE_CONFIG_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longwave::client {

// The gRPC service config that clients of Longwave should use, the text of service_config.json:
// replicas in turn; unary calls tried up to 4 times on UNAVAILABLE and RESOURCE_EXHAUSTED, where
// the server's pushback sets the delay or forbids another try, and on CANCELLED, which only a
// server that shuts down in that very moment answers (whoever cancels by himself is not retried);
// no waiting for a server that is not there; retries stop altogether when too many calls fail.
// EncodeStream is not retried here: RowReader resumes it by row.
absl::string_view DefaultServiceConfig();

// The config with a watch on each server's health, unless it has one.
std::string WithHealthCheck(absl::string_view service_config);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_SERVICE_CONFIG_H_
