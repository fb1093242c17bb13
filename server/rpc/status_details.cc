#include "server/rpc/status_details.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/base/error.h"
#include "server/observability/safe_text.h"
#include "server/rpc/proto_convert.h"

namespace longwave {
namespace {

// Trailers stay well below the 8 KiB that peers accept: the message travels twice, once
// percent-encoded (3 bytes for one).
constexpr size_t kMaxMessageBytes = 1024;
constexpr size_t kMaxDetailBytes = 256;

// Whoever waits for a queue looks again after this long: by then another replica may have room.
constexpr Nanoseconds kLongestDelay = std::chrono::seconds(5);
// A quota's debt is known and no other replica forgives it; beyond this a number helps nobody.
constexpr Nanoseconds kLongestRefill = std::chrono::hours(24);
constexpr Nanoseconds kShortestDelay = std::chrono::milliseconds(10);
constexpr double kLeastFactor = 0.8;
constexpr double kMostFactor = 1.2;

int32_t ToMilliseconds(Nanoseconds delay) {
  return static_cast<int32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(delay).count());
}

void AddMetadata(google::rpc::ErrorInfo& info, const char* key, const std::string& text) {
  if (!text.empty()) (*info.mutable_metadata())[key] = SafeText(text, kMaxDetailBytes);
}

google::rpc::ErrorInfo MakeErrorInfo(const ErrorDetails& details) {
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(ErrorReasonName(details.reason)));
  info.set_domain(kErrorDomain);
  AddMetadata(info, "field", details.field);
  AddMetadata(info, "value", details.value);
  AddMetadata(info, "limit", details.limit);
  return info;
}

google::rpc::BadRequest MakeBadRequest(const ErrorDetails& details, const std::string& message) {
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(SafeText(details.field, kMaxDetailBytes));
  violation->set_description(message);
  return bad_request;
}

google::rpc::QuotaFailure MakeQuotaFailure(absl::string_view tenant, const std::string& message) {
  google::rpc::QuotaFailure failure;
  auto* violation = failure.add_violations();
  violation->set_subject(absl::StrCat("tenant:", tenant));
  violation->set_description(message);
  return failure;
}

std::optional<Nanoseconds> Delay(const ErrorDetails& details, double jitter) {
  if (!details.retry_after.has_value()) return std::nullopt;
  return JitteredDelay(
      *details.retry_after, jitter,
      details.reason == ErrorReason::kQuotaExceeded ? kLongestRefill : kLongestDelay);
}

}  // namespace

Nanoseconds JitteredDelay(Nanoseconds wanted, double jitter, Nanoseconds longest) {
  // So far within the bounds that no factor leads out of them: clamped behind it, half of the
  // refused would come back at the bound, together.
  const double bounded =
      std::clamp(static_cast<double>(wanted.count()), kShortestDelay.count() / kLeastFactor,
                 longest.count() / kMostFactor);
  const double factor = kLeastFactor + (kMostFactor - kLeastFactor) * jitter;
  return Nanoseconds(std::llround(bounded * factor));
}

WireError ToWireError(const absl::Status& status, double jitter, absl::string_view tenant) {
  const ErrorDetails details = GetErrorDetails(status);
  const std::string message =
      SafeText({status.message().data(), status.message().size()}, kMaxMessageBytes);
  const std::optional<Nanoseconds> delay = Delay(details, jitter);

  google::rpc::Status wire;
  wire.set_code(static_cast<int>(status.code()));
  wire.set_message(message);
  wire.add_details()->PackFrom(MakeErrorInfo(details));
  if (status.code() == absl::StatusCode::kInvalidArgument && !details.field.empty()) {
    wire.add_details()->PackFrom(MakeBadRequest(details, message));
  }
  if (details.reason == ErrorReason::kQuotaExceeded) {
    wire.add_details()->PackFrom(MakeQuotaFailure(tenant, message));
  }
  WireError error;
  if (delay.has_value()) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() = ToProtoDuration(*delay);
    wire.add_details()->PackFrom(retry);
    error.pushback_ms = ToMilliseconds(*delay);
  } else if (status.code() == absl::StatusCode::kResourceExhausted) {
    // In the shipped service config this code is retried; what fails again for sure must say so.
    error.pushback_ms = -1;
  }
  error.status =
      grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, wire.SerializeAsString());
  return error;
}

v1::StreamFailed ToStreamFailed(const absl::Status& status, uint64_t next_row, double jitter) {
  const ErrorDetails details = GetErrorDetails(status);
  v1::StreamFailed failed;
  failed.set_code(static_cast<int>(status.code()));
  failed.set_message(
      SafeText({status.message().data(), status.message().size()}, kMaxMessageBytes));
  failed.set_reason(std::string(ErrorReasonName(details.reason)));
  failed.set_field(SafeText(details.field, kMaxDetailBytes));
  failed.set_value(SafeText(details.value, kMaxDetailBytes));
  failed.set_limit(SafeText(details.limit, kMaxDetailBytes));
  if (const auto delay = Delay(details, jitter); delay.has_value()) {
    *failed.mutable_retry_after() = ToProtoDuration(*delay);
  }
  failed.set_next_row(next_row);
  return failed;
}

double NextJitter() {
  thread_local std::minstd_rand generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0.0, 1.0)(generator);
}

}  // namespace longwave
