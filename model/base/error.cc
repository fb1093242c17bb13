#include "model/base/error.h"

#include <array>
#include <charconv>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longwave {
namespace {

struct ReasonRow {
  ErrorReason reason;
  absl::string_view name;
  absl::StatusCode code;
};

using Code = absl::StatusCode;

// In the order of the enum: a row is found by its index.
constexpr std::array kReasons = {
    ReasonRow{ErrorReason::kEmptyRequest, "EMPTY_REQUEST", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kEmptySequence, "EMPTY_SEQUENCE", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kTokenOutOfRange, "TOKEN_OUT_OF_RANGE", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kLengthsMismatch, "LENGTHS_MISMATCH", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kBadIdWidth, "BAD_ID_WIDTH", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kConflictingFields, "CONFLICTING_FIELDS", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kMissingField, "MISSING_FIELD", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kSequenceTooLong, "SEQUENCE_TOO_LONG", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kRequestTooLarge, "REQUEST_TOO_LARGE", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kUnknownModel, "UNKNOWN_MODEL", Code::kNotFound},
    ReasonRow{ErrorReason::kInvalidModelName, "INVALID_MODEL_NAME", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kInvalidEnum, "INVALID_ENUM", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kInvalidField, "INVALID_FIELD", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kUnsupportedInput, "UNSUPPORTED_INPUT", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kMalformedMessage, "MALFORMED_MESSAGE", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kProtocolViolation, "PROTOCOL_VIOLATION", Code::kInvalidArgument},
    ReasonRow{ErrorReason::kRouteOverrideDisabled, "ROUTE_OVERRIDE_DISABLED",
              Code::kFailedPrecondition},
    ReasonRow{ErrorReason::kRouteNotExact, "ROUTE_NOT_EXACT", Code::kFailedPrecondition},
    ReasonRow{ErrorReason::kNotImplemented, "NOT_IMPLEMENTED", Code::kUnimplemented},
    ReasonRow{ErrorReason::kUnauthenticated, "UNAUTHENTICATED", Code::kUnauthenticated},
    ReasonRow{ErrorReason::kPermissionDenied, "PERMISSION_DENIED", Code::kPermissionDenied},
    ReasonRow{ErrorReason::kExceedsGrace, "EXCEEDS_GRACE", Code::kFailedPrecondition},
    ReasonRow{ErrorReason::kDeadlineExpired, "DEADLINE_EXPIRED", Code::kDeadlineExceeded},
    ReasonRow{ErrorReason::kDeadlineUnmeetable, "DEADLINE_UNMEETABLE", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kQueueFull, "QUEUE_FULL", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kMemoryFull, "MEMORY_FULL", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kQuotaExceeded, "QUOTA_EXCEEDED", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kDraining, "DRAINING", Code::kUnavailable},
    ReasonRow{ErrorReason::kLoading, "LOADING", Code::kUnavailable},
    ReasonRow{ErrorReason::kCancelled, "CANCELLED", Code::kCancelled},
    ReasonRow{ErrorReason::kSlowReader, "SLOW_READER", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kNonFinite, "NON_FINITE", Code::kInternal},
    ReasonRow{ErrorReason::kDegenerateDenominator, "DEGENERATE_DENOMINATOR", Code::kInternal},
    ReasonRow{ErrorReason::kOutOfMemory, "OUT_OF_MEMORY", Code::kResourceExhausted},
    ReasonRow{ErrorReason::kDeviceLost, "DEVICE_LOST", Code::kUnavailable},
    ReasonRow{ErrorReason::kInternal, "INTERNAL", Code::kInternal},
};

constexpr bool InEnumOrder() {
  for (size_t i = 0; i < kReasons.size(); ++i) {
    if (static_cast<size_t>(kReasons[i].reason) != i) return false;
  }
  return kReasons.size() == static_cast<size_t>(ErrorReason::kInternal) + 1;
}
static_assert(InEnumOrder());

const ReasonRow& Row(ErrorReason reason) { return kReasons[static_cast<size_t>(reason)]; }

constexpr absl::string_view kReasonUrl = "longwave/reason";
constexpr absl::string_view kFieldUrl = "longwave/field";
constexpr absl::string_view kValueUrl = "longwave/value";
constexpr absl::string_view kLimitUrl = "longwave/limit";
constexpr absl::string_view kRetryUrl = "longwave/retry_after_nanoseconds";

void SetPayload(absl::Status& status, absl::string_view url, absl::string_view text) {
  if (!text.empty()) status.SetPayload(url, absl::Cord(text));
}

std::string PayloadText(const absl::Status& status, absl::string_view url) {
  const auto payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : std::string();
}

ErrorReason ReasonOfCode(absl::StatusCode code) {
  switch (code) {
    case Code::kInvalidArgument:
      return ErrorReason::kInvalidField;
    case Code::kNotFound:
      return ErrorReason::kUnknownModel;
    case Code::kUnimplemented:
      return ErrorReason::kNotImplemented;
    case Code::kDeadlineExceeded:
      return ErrorReason::kDeadlineExpired;
    case Code::kResourceExhausted:
      return ErrorReason::kOutOfMemory;
    case Code::kUnavailable:
      return ErrorReason::kDeviceLost;
    case Code::kCancelled:
      return ErrorReason::kCancelled;
    case Code::kUnauthenticated:
      return ErrorReason::kUnauthenticated;
    case Code::kPermissionDenied:
      return ErrorReason::kPermissionDenied;
    default:
      return ErrorReason::kInternal;
  }
}

// What MakeError says behind the message.
std::string DetailsText(const ErrorDetails& details) {
  std::string text;
  if (!details.field.empty()) {
    absl::StrAppend(&text, "; ", details.field);
    if (!details.value.empty()) absl::StrAppend(&text, " = ", details.value);
  }
  if (!details.limit.empty()) absl::StrAppend(&text, ", limit ", details.limit);
  return text;
}

}  // namespace

absl::string_view ErrorReasonName(ErrorReason reason) { return Row(reason).name; }

absl::StatusCode ErrorReasonCode(ErrorReason reason) { return Row(reason).code; }

const std::vector<ErrorReason>& AllErrorReasons() {
  static const auto* const kAll = [] {
    auto* all = new std::vector<ErrorReason>();
    for (const ReasonRow& row : kReasons) all->push_back(row.reason);
    return all;
  }();
  return *kAll;
}

absl::Status MakeError(ErrorDetails details, absl::string_view message) {
  absl::Status status(ErrorReasonCode(details.reason), absl::StrCat(message, DetailsText(details)));
  SetPayload(status, kReasonUrl, ErrorReasonName(details.reason));
  SetPayload(status, kFieldUrl, details.field);
  SetPayload(status, kValueUrl, details.value);
  SetPayload(status, kLimitUrl, details.limit);
  if (details.retry_after.has_value()) {
    SetPayload(status, kRetryUrl, absl::StrCat(details.retry_after->count()));
  }
  return status;
}

absl::Status WithField(const absl::Status& error, absl::string_view field) {
  ErrorDetails details = GetErrorDetails(error);
  const absl::string_view message = absl::StripSuffix(error.message(), DetailsText(details));
  details.field = std::string(field);
  return MakeError(std::move(details), message);
}

ErrorDetails GetErrorDetails(const absl::Status& status) {
  ErrorDetails details;
  details.reason = ReasonOfCode(status.code());
  const std::string name = PayloadText(status, kReasonUrl);
  for (const ReasonRow& row : kReasons) {
    if (row.name == name) details.reason = row.reason;
  }
  details.field = PayloadText(status, kFieldUrl);
  details.value = PayloadText(status, kValueUrl);
  details.limit = PayloadText(status, kLimitUrl);
  const std::string retry = PayloadText(status, kRetryUrl);
  int64_t nanoseconds = 0;
  const auto [end, error] = std::from_chars(retry.data(), retry.data() + retry.size(), nanoseconds);
  if (error == std::errc() && !retry.empty()) details.retry_after = Nanoseconds(nanoseconds);
  return details;
}

}  // namespace longwave
