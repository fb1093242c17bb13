#ifndef LONGWAVE_MODEL_BASE_ERROR_H_
#define LONGWAVE_MODEL_BASE_ERROR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/base/clock.h"

namespace longwave {

// Why a request or a sequence was not served: the closed list that clients see as
// google.rpc.ErrorInfo.reason and Prometheus as label `reason`.
enum class ErrorReason {
  kEmptyRequest,           // no sequences
  kEmptySequence,          // a sequence of length zero
  kTokenOutOfRange,        // an id outside the vocabulary
  kLengthsMismatch,        // lengths do not add up to the data
  kBadIdWidth,             // bytes are not a whole number of ids, or width not set
  kConflictingFields,      // two forms of the same input given
  kMissingField,           // a field that the request needs is not set
  kSequenceTooLong,        // above the model's longest sequence
  kRequestTooLarge,        // tokens, sequences or reply bytes above what one request may hold
  kUnknownModel,           // no model of that name or version
  kInvalidModelName,       // the name has characters that no model name has
  kInvalidEnum,            // an enum value that this server does not know
  kInvalidField,           // any other field with a value outside its range
  kUnsupportedInput,       // an optional input that the model does not take
  kMalformedMessage,       // bytes that do not parse
  kProtocolViolation,      // stream messages in an impossible order
  kRouteOverrideDisabled,  // route_override without --allow_route_override
  kRouteNotExact,          // the asked-for route is not exact for the model's bias or too costly
  kNotImplemented,         // in the API, not in this server yet
  kUnauthenticated,        // no credential, or one that nobody has
  kPermissionDenied,       // a credential without the right
  kExceedsGrace,           // a job predicted to outlast a shutdown's grace
  kDeadlineExpired,        // the deadline had passed
  kDeadlineUnmeetable,     // the deadline would pass before the predicted end
  kQueueFull,              // the queue's bound is reached
  kMemoryFull,             // the memory budget is reached
  kQuotaExceeded,          // the tenant has used up its share of compute time
  kDraining,               // the server is shutting down
  kLoading,                // the model is not ready
  kCancelled,              // the caller left
  kSlowReader,             // the reader held a job blocked for too long
  kNonFinite,              // a result that is not a number
  kDegenerateDenominator,  // a signed feature map whose terms cancelled
  kOutOfMemory,            // the device had no memory for the work
  kDeviceLost,             // the device answers no more
  kInternal,               // a broken rule of our own
};

// Upper snake case, as on the wire: "QUEUE_FULL".
absl::string_view ErrorReasonName(ErrorReason reason);
// Every reason, in the order of the enum (metrics create each label at zero).
const std::vector<ErrorReason>& AllErrorReasons();
// The one status code of a reason, chosen by what the caller should do next.
absl::StatusCode ErrorReasonCode(ErrorReason reason);

// What a client is told beside code and text.
struct ErrorDetails {
  ErrorReason reason = ErrorReason::kInternal;
  std::string field;  // path as in the proto: "tokens.lengths[3]"; empty: none
  std::string value;  // the offending value, short
  std::string limit;  // what would have been accepted, short
  // How long to wait before another try; unset: a repetition fails again.
  std::optional<Nanoseconds> retry_after;
};

// A status with the reason's code, and the details as payload. `message` names what failed; field,
// value and limit are appended to it ("; tokens.lengths[3] = 9, limit 8").
absl::Status MakeError(ErrorDetails details, absl::string_view message);
inline absl::Status MakeError(ErrorReason reason, absl::string_view message) {
  return MakeError(ErrorDetails{.reason = reason}, message);
}
// The same error about a field that its reader calls `field`. Precondition: made by MakeError,
// about some field.
absl::Status WithField(const absl::Status& error, absl::string_view field);
// The details of a status made by MakeError. For any other status: the reason that fits its code
// and nothing else.
ErrorDetails GetErrorDetails(const absl::Status& status);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_ERROR_H_
