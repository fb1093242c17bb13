#include "server/admission/admission_policy.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error.h"

namespace longwave {
namespace {

// For the way back: packing, writing, the wire.
constexpr double kReplySeconds = 1e-3;
constexpr double kShortestRetry = 1e-3;
// Of the time left that waiting for mates may take: the batch former sees to it.
constexpr double kBatchShare = 0.25;

std::string SecondsText(double seconds) { return absl::StrFormat("%.3f s", seconds); }

absl::Status RetryLater(ErrorReason reason, std::string value, std::string limit, double after,
                        absl::string_view message) {
  return MakeError({.reason = reason,
                    .value = std::move(value),
                    .limit = std::move(limit),
                    .retry_after = FromSeconds(std::max(after, kShortestRetry))},
                   message);
}

// Seconds until the request has ended, if it needs `seconds`.
double End(double seconds, const AdmissionState& state) {
  return std::min(state.total_seconds + seconds, (state.ahead_seconds + seconds) / state.rate);
}

absl::Status CheckQueue(const AdmissionRequest& request, const AdmissionState& state,
                        const AdmissionLimits& limits) {
  const bool too_many = state.queued_sequences + request.sequences > limits.max_queue_sequences;
  if (!too_many && state.queued_tokens + request.tokens <= limits.max_queue_tokens) {
    return absl::OkStatus();
  }
  ErrorDetails details{.reason = ErrorReason::kQueueFull};
  details.limit = too_many ? absl::StrCat(limits.max_queue_sequences, " sequences")
                           : absl::StrCat(limits.max_queue_tokens, " tokens");
  // What an empty queue would not take either is not worth another try.
  if (request.sequences <= limits.max_queue_sequences &&
      request.tokens <= limits.max_queue_tokens) {
    details.retry_after = FromSeconds(std::max(state.total_seconds, kShortestRetry));
  }
  return MakeError(std::move(details), "the queue has no room for the request");
}

absl::Status CheckHostBytes(const AdmissionRequest& request, const AdmissionState& state,
                            const AdmissionLimits& limits) {
  if (state.host_bytes + request.host_bytes <= limits.max_host_bytes) return absl::OkStatus();
  ErrorDetails details{.reason = ErrorReason::kMemoryFull,
                       .value = absl::StrCat(request.host_bytes, " bytes"),
                       .limit = absl::StrCat(limits.max_host_bytes, " bytes")};
  if (request.host_bytes <= limits.max_host_bytes) {
    details.retry_after = FromSeconds(std::max(state.total_seconds, kShortestRetry));
  }
  return MakeError(std::move(details), "ids and replies of the open requests leave no room");
}

absl::Status CheckDeadline(const AdmissionRequest& request, const AdmissionState& state) {
  if (request.deadline == kNever) return absl::OkStatus();
  const double left = ToSeconds(request.deadline - state.now);
  // Sequences that come later may ride along, and all of a batch end together; not in the next one,
  // if there is nothing to wait for.
  const double mates = std::min({state.batch_seconds, state.total_seconds, kBatchShare * left});
  const double end = End(request.high_seconds, state) + std::max(mates, 0.0) + kReplySeconds;
  if (end <= left) return absl::OkStatus();
  return MakeError({.reason = ErrorReason::kDeadlineUnmeetable,
                    .value = SecondsText(end),
                    .limit = SecondsText(left)},
                   "the request is predicted to end after its deadline");
}

absl::Status CheckWait(const AdmissionRequest& request, const AdmissionLimits& limits,
                       double wait_seconds) {
  const double bound =
      request.seconds + (request.priority == Priority::kBatch ? limits.max_batch_class_wait_seconds
                                                              : limits.max_wait_seconds);
  if (wait_seconds <= bound) return absl::OkStatus();
  return RetryLater(ErrorReason::kQueueFull, SecondsText(wait_seconds), SecondsText(bound),
                    wait_seconds - bound, "the predicted wait is too long");
}

absl::Status CheckGrace(const AdmissionRequest& request, const AdmissionLimits& limits) {
  if (limits.max_job_seconds == 0 || request.longest_seconds <= limits.max_job_seconds) {
    return absl::OkStatus();
  }
  return MakeError({.reason = ErrorReason::kExceedsGrace,
                    .value = SecondsText(request.longest_seconds),
                    .limit = SecondsText(limits.max_job_seconds)},
                   "a shutdown would cut off a computation as long as this one's prediction");
}

absl::Status Decide(const AdmissionRequest& request, const AdmissionState& state,
                    const AdmissionLimits& limits, double wait_seconds) {
  absl::Status status = CheckGrace(request, limits);
  if (status.ok()) status = CheckQueue(request, state, limits);
  if (status.ok()) status = CheckHostBytes(request, state, limits);
  if (status.ok()) status = CheckDeadline(request, state);
  if (status.ok()) status = CheckWait(request, limits, wait_seconds);
  if (!status.ok() || state.quota_wait_seconds <= 0) return status;
  return RetryLater(ErrorReason::kQuotaExceeded, "", "", state.quota_wait_seconds,
                    "the tenant has used up its share of compute time");
}

}  // namespace

AdmissionDecision DecideAdmission(const AdmissionRequest& request, const AdmissionState& state,
                                  const AdmissionLimits& limits) {
  AdmissionDecision decision;
  decision.wait_seconds = std::max(0.0, End(request.seconds, state) - request.seconds);
  decision.status = Decide(request, state, limits, decision.wait_seconds);
  return decision;
}

}  // namespace longwave
