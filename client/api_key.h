#ifndef LONGWAVE_CLIENT_API_KEY_H_
#define LONGWAVE_CLIENT_API_KEY_H_

#include <grpcpp/support/client_interceptor.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave::client {

// Whether a key can travel as `authorization: Bearer <key>`: 1 to 1024 visible ASCII characters.
// The text of the error does not have the key in it.
absl::Status CheckApiKey(absl::string_view key);

// Whether a gRPC target is this machine by its looks: what is sent there crosses no network.
bool IsLoopbackTarget(absl::string_view target);

// Adds the key to every call of a channel. An interceptor, since gRPC's call credentials refuse to
// travel over plaintext even within one machine.
std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface> MakeApiKeyInterceptor(
    absl::string_view key);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_API_KEY_H_
