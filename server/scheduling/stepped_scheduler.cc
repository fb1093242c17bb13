#include "server/scheduling/stepped_scheduler.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/scheduling/batch_former.h"

namespace longwave {
namespace {

// No prediction is believed beyond this, so that sums of them stay within 64 bits of nanoseconds.
constexpr double kLongestPrediction = 1e5;

Nanoseconds ToPredicted(double seconds) {
  return seconds > 0 ? FromSeconds(std::min(seconds, kLongestPrediction)) : Nanoseconds(0);
}

}  // namespace

SteppedScheduler::SteppedScheduler(const SchedulerOptions& options, const Clock* clock,
                                   SchedulerObserver* observer)
    : options_(options),
      clock_(*clock),
      book_(options_),
      executor_(options_, &book_, clock, observer) {}

SteppedScheduler::~SteppedScheduler() = default;

absl::StatusOr<Scheduler::Ticket> SteppedScheduler::Submit(std::vector<SequenceTask> tasks,
                                                           const RequestTerms& terms) {
  if (tasks.empty()) return MakeError(ErrorReason::kEmptyRequest, "there are no sequences");
  if (terms.deadline <= clock_.Now()) {
    return MakeError(ErrorReason::kDeadlineExpired, "the deadline had passed on arrival");
  }
  if (absl::Status health = tasks.front().model->encoder->Health(); !health.ok()) {
    return MakeError(ErrorReason::kDeviceLost, health.message());
  }
  Sequences sequences;
  sequences.reserve(tasks.size());
  for (SequenceTask& task : tasks) {
    sequences.push_back(MakeSequence(std::move(task)));
    const int64_t bytes = sequences.back()->peak_bytes;
    if (bytes <= options_.max_resident_bytes) continue;
    return MakeError({.reason = ErrorReason::kMemoryFull,
                      .limit = absl::StrCat(options_.max_resident_bytes, " bytes")},
                     absl::StrCat("a sequence of ", sequences.back()->tokens,
                                  " tokens needs about ", bytes, " bytes"));
  }
  return book_.Admit(std::move(sequences), terms.priority, terms.deadline);
}

std::unique_ptr<Sequence> SteppedScheduler::MakeSequence(SequenceTask task) const {
  auto sequence = std::make_unique<Sequence>();
  sequence->tokens = static_cast<int64_t>(task.token_ids.size());
  const CostPrediction raw =
      task.model->encoder->Predict(sequence->tokens, task.output, task.route);
  CostPrediction cost = raw;
  const CostEstimate estimate = task.model->cost.Estimate(raw);
  cost.seconds = estimate.seconds;
  sequence->predicted = ToPredicted(estimate.shared_seconds);
  sequence->encoder_seconds = raw.seconds;
  sequence->predicted_route = raw.route;
  sequence->peak_bytes = cost.peak_bytes;
  sequence->slices = std::max<int64_t>(1, cost.slices);
  sequence->streamed = task.streamed;
  sequence->alone = RidesAlone(cost, sequence->tokens, task.streamed, options_);
  sequence->model = std::move(task.model);
  sequence->token_ids = std::move(task.token_ids);
  sequence->output = std::move(task.output);
  sequence->route = task.route;
  sequence->gate = std::make_shared<ConsumerGate>(std::move(task.consumer));
  return sequence;
}

Forecast SteppedScheduler::Foresee(const ServedModel& model, absl::Span<const SequenceShape> shapes,
                                   const RequestTerms& terms) const {
  Forecast forecast;
  for (const SequenceShape& shape : shapes) {
    const CostPrediction raw = model.encoder->Predict(shape.tokens, *shape.output, shape.route);
    forecast.seconds += model.cost.Estimate(raw).seconds;
    forecast.peak_bytes = std::max(forecast.peak_bytes, raw.peak_bytes);
    forecast.slices += raw.slices;
    if (std::find(forecast.routes.begin(), forecast.routes.end(), raw.route) ==
        forecast.routes.end()) {
      forecast.routes.push_back(raw.route);
    }
  }
  const SchedulerView view = View();
  forecast.wait_seconds = view.queued_seconds + view.running_seconds;
  return forecast;
}

void SteppedScheduler::Cancel(Ticket ticket, absl::Status reason) {
  if (reason.ok()) reason = MakeError(ErrorReason::kCancelled, "the request was cancelled");
  book_.Cancel(ticket, reason);
}

}  // namespace longwave
