#include "server/observability/metric_catalogue.h"

namespace longwave::catalogue {
namespace {

using Code = absl::StatusCode;

constexpr std::array kServedCodes = {
    Code::kOk,
    Code::kCancelled,
    Code::kInvalidArgument,
    Code::kDeadlineExceeded,
    Code::kNotFound,
    Code::kResourceExhausted,
    Code::kFailedPrecondition,
    Code::kUnauthenticated,
    Code::kPermissionDenied,
    Code::kUnimplemented,
    Code::kInternal,
    Code::kUnavailable,
    Code::kUnknown,
};

}  // namespace

int LengthClass(int64_t tokens) {
  int64_t limit = 1024;
  int index = 0;
  while (index + 1 < kLengthClassCount && tokens > limit) {
    limit *= 4;
    ++index;
  }
  return index;
}

CodeClass ClassOf(ErrorReason reason, bool admitted) {
  switch (reason) {
    case ErrorReason::kDeadlineExpired:
      return admitted ? CodeClass::kServer : CodeClass::kClient;
    case ErrorReason::kDeadlineUnmeetable:
    case ErrorReason::kQueueFull:
    case ErrorReason::kMemoryFull:
    case ErrorReason::kQuotaExceeded:
    case ErrorReason::kDraining:
    case ErrorReason::kLoading:
      return CodeClass::kShed;
    case ErrorReason::kNonFinite:
    case ErrorReason::kDegenerateDenominator:
    case ErrorReason::kOutOfMemory:
    case ErrorReason::kDeviceLost:
    case ErrorReason::kInternal:
      return CodeClass::kServer;
    default:
      return CodeClass::kClient;
  }
}

bool IsShed(ErrorReason reason) {
  return ClassOf(reason, /*admitted=*/false) == CodeClass::kShed ||
         reason == ErrorReason::kDeadlineExpired;
}

bool IsInvalid(ErrorReason reason) {
  switch (ErrorReasonCode(reason)) {
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kFailedPrecondition:
    case Code::kUnauthenticated:
    case Code::kPermissionDenied:
    case Code::kUnimplemented:
      return true;
    default:
      return false;
  }
}

absl::Span<const absl::StatusCode> ServedCodes() { return kServedCodes; }

const char* CodeName(absl::StatusCode code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code::kNotFound:
      return "NOT_FOUND";
    case Code::kResourceExhausted:
      return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case Code::kUnauthenticated:
      return "UNAUTHENTICATED";
    case Code::kPermissionDenied:
      return "PERMISSION_DENIED";
    case Code::kUnimplemented:
      return "UNIMPLEMENTED";
    case Code::kInternal:
      return "INTERNAL";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    default:
      return "UNKNOWN";
  }
}

}  // namespace longwave::catalogue
