#include "server/scheduling/stepped_scheduler.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "model/base/error.h"
#include "server/scheduling/pricer.h"

namespace longwave {
namespace {

// What needs no look at the queue.
absl::Status CheckBefore(const ServedModel& model, const RequestTerms& terms, Instant now) {
  if (terms.deadline <= now) {
    return MakeError(ErrorReason::kDeadlineExpired, "the deadline had passed on arrival");
  }
  if (absl::Status health = model.encoder->Health(); !health.ok()) {
    return MakeError(ErrorReason::kDeviceLost, health.message());
  }
  return absl::OkStatus();
}

std::unique_ptr<Sequence> MakeSequence(SequenceTask task, const Pricer::Item& item) {
  auto sequence = std::make_unique<Sequence>();
  sequence->tokens = static_cast<int64_t>(task.token_ids.size());
  sequence->predicted = item.shared;
  sequence->encoder_seconds = item.cost.seconds;
  sequence->predicted_route = item.cost.route;
  sequence->peak_bytes = item.cost.peak_bytes;
  sequence->slices = std::max<int64_t>(1, item.cost.slices);
  sequence->streamed = task.streamed;
  sequence->alone = item.alone;
  sequence->model = std::move(task.model);
  sequence->token_ids = std::move(task.token_ids);
  sequence->output = std::move(task.output);
  sequence->route = task.route;
  sequence->gate = std::make_shared<ConsumerGate>(std::move(task.consumer));
  return sequence;
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
  const ServedModel& model = *tasks.front().model;
  if (absl::Status status = CheckBefore(model, terms, clock_.Now()); !status.ok()) return status;
  Pricer pricer(model, options_);
  Sequences sequences;
  sequences.reserve(tasks.size());
  for (SequenceTask& task : tasks) {
    const SequenceWork shape{.tokens = static_cast<int64_t>(task.token_ids.size()),
                             .output = &task.output,
                             .route = task.route,
                             .streamed = task.streamed};
    const Pricer::Item item = pricer.Add(shape);
    sequences.push_back(MakeSequence(std::move(task), item));
  }
  if (absl::Status status = pricer.CheckMemory(); !status.ok()) return status;
  return book_.Admit(std::move(sequences), pricer.price(), terms, clock_.Now());
}

Forecast SteppedScheduler::Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                                   const RequestTerms& terms) const {
  Pricer pricer(model, options_);
  for (const SequenceWork& shape : shapes) pricer.Add(shape);
  AdmissionDecision decision = book_.Foresee(pricer.price(), terms, clock_.Now());
  Forecast forecast = pricer.forecast();
  forecast.wait_seconds = decision.wait_seconds;
  forecast.verdict = CheckBefore(model, terms, clock_.Now());
  if (forecast.verdict.ok()) forecast.verdict = pricer.CheckMemory();
  if (forecast.verdict.ok()) forecast.verdict = std::move(decision.status);
  return forecast;
}

void SteppedScheduler::Cancel(Ticket ticket, absl::Status reason) {
  if (reason.ok()) reason = MakeError(ErrorReason::kCancelled, "the request was cancelled");
  book_.Cancel(ticket, reason);
}

}  // namespace longwave
