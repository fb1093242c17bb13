#ifndef LONGWAVE_SERVER_RPC_STATUS_DETAILS_H_
#define LONGWAVE_SERVER_RPC_STATUS_DETAILS_H_

#include <grpcpp/support/status.h>

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/clock.h"

namespace longwave {

// google.rpc.ErrorInfo.domain of every error of ours.
inline constexpr char kErrorDomain[] = "longwave";
// Trailing metadata of gRFC A6: how long to wait before the next attempt, or -1 for "do not".
inline constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";

// A failure as it leaves the server.
struct WireError {
  grpc::Status status;  // message and google.rpc details
  // Value of kPushbackKey. Unset: the client's own policy decides.
  std::optional<int32_t> pushback_ms;
};

// How long to tell a client to wait: `wanted` +-20 % by `jitter` in [0, 1), within 10 ms to
// `longest`, at the bounds too. Clients obey exactly, so without the jitter all refused ones would
// come back in one wave.
Nanoseconds JitteredDelay(Nanoseconds wanted, double jitter, Nanoseconds longest);

// Precondition: `status` is not OK. `tenant`: whose quota is meant, if it is about one. Delays end
// at 5 s, those until a quota refills at a day.
WireError ToWireError(const absl::Status& status, double jitter, absl::string_view tenant = "");

// The same for one tag of a stream. Precondition: `status` is not OK.
v1::StreamFailed ToStreamFailed(const absl::Status& status, uint64_t next_row, double jitter);

// A number in [0, 1) for the functions above. Thread-safe; not for secrets.
double NextJitter();

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_STATUS_DETAILS_H_
