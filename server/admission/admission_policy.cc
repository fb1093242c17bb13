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

// One of the limits on what requests hold.
struct Limit {
  int64_t Holding::* held;
  int64_t most;
  absl::string_view unit;
  ErrorReason reason;
  absl::string_view of;  // for the message
};

absl::Status Full(const AdmissionRequest& request, const AdmissionState& state, const Limit& limit,
                  int64_t most, absl::string_view whose, absl::string_view message) {
  const int64_t asked = request.takes.*limit.held;
  ErrorDetails details{.reason = limit.reason,
                       .value = absl::StrCat(asked, " ", limit.unit),
                       .limit = absl::StrCat(most, " ", limit.unit, whose)};
  // What an empty server would not take either is not worth another try.
  if (asked <= limit.most) {
    details.retry_after = FromSeconds(std::max(state.total_seconds, kShortestRetry));
  }
  return MakeError(std::move(details), message);
}

absl::Status CheckLimit(const AdmissionRequest& request, const AdmissionState& state,
                        const Limit& limit) {
  const int64_t asked = request.takes.*limit.held;
  const int64_t all = state.all.*limit.held;
  if (all + asked > limit.most) {
    return Full(request, state, limit, limit.most, "",
                absl::StrCat(limit.of, " has no room for the request"));
  }
  // Held to what it leaves free: half of what others do not hold.
  const auto most = [&](const Holding& own) { return (limit.most - (all - own.*limit.held)) / 2; };
  const auto over = [&](const Holding& own) {
    return own.*limit.held > 0 && own.*limit.held + asked > most(own);
  };
  if (request.priority == Priority::kBatch && over(state.batch_class)) {
    return Full(request, state, limit, most(state.batch_class), " of the batch class",
                absl::StrCat("the rest of ", limit.of, " is kept from the batch class"));
  }
  if (state.tenant.has_value() && over(*state.tenant)) {
    return Full(request, state, limit, most(*state.tenant), " of one tenant",
                absl::StrCat("the rest of ", limit.of, " is kept for other tenants"));
  }
  return absl::OkStatus();
}

absl::Status CheckLimits(const AdmissionRequest& request, const AdmissionState& state,
                         const AdmissionLimits& limits) {
  for (const Limit& limit : {Limit{&Holding::sequences, limits.max_queue_sequences, "sequences",
                                   ErrorReason::kQueueFull, "the queue"},
                             Limit{&Holding::tokens, limits.max_queue_tokens, "tokens",
                                   ErrorReason::kQueueFull, "the queue"},
                             Limit{&Holding::host_bytes, limits.max_host_bytes, "bytes",
                                   ErrorReason::kMemoryFull, "the memory for ids and replies"}}) {
    if (absl::Status status = CheckLimit(request, state, limit); !status.ok()) return status;
  }
  return absl::OkStatus();
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
  if (status.ok()) status = CheckLimits(request, state, limits);
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
