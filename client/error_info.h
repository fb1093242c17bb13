#ifndef LONGWAVE_CLIENT_ERROR_INFO_H_
#define LONGWAVE_CLIENT_ERROR_INFO_H_

#include <grpcpp/support/status.h>

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "longwave/v1/encode.pb.h"

namespace longwave::client {

// What a server (or this library) says about an error beside code and text.
struct ErrorInfo {
  std::string reason;  // from the API's closed list: "QUEUE_FULL"; empty: none given
  std::string field;   // path as in the proto: "tokens.lengths[3]"
  std::string value;
  std::string limit;
  // How long to wait before another try; unset: a repetition fails again, or nothing was said.
  std::optional<absl::Duration> retry_after;
};

// The details of a status returned by this library; all empty where there are none.
ErrorInfo GetErrorInfo(const absl::Status& status);

// Code, text and google.rpc details of a gRPC status; the details become the payloads that
// GetErrorInfo reads, under their type URLs.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The same for the failure of one request on a stream.
absl::Status FromStreamFailed(const v1::StreamFailed& failed);

// A status of this library's own.
absl::Status MakeError(absl::StatusCode code, const ErrorInfo& info, absl::string_view message);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_ERROR_INFO_H_
