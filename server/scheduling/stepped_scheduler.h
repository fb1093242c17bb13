#ifndef LONGWAVE_SERVER_SCHEDULING_STEPPED_SCHEDULER_H_
#define LONGWAVE_SERVER_SCHEDULING_STEPPED_SCHEDULER_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/scheduling/executor.h"
#include "server/scheduling/request_book.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// The scheduler without a thread of its own: whoever holds it steps it. The server's scheduler is
// this and a thread; tests and simulations step it in virtual time.
class SteppedScheduler final : public Scheduler {
 public:
  // `options` are valid.
  SteppedScheduler(const SchedulerOptions& options, const Clock* clock,
                   SchedulerObserver* observer);
  ~SteppedScheduler() override;

  absl::StatusOr<Ticket> Submit(std::vector<SequenceTask> tasks,
                                const RequestTerms& terms) override;
  Forecast Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                   const RequestTerms& terms) const override;
  void Cancel(Ticket ticket, absl::Status reason) override;
  void OnSinkReady(Ticket ticket) override { book_.OnSinkReady(ticket); }
  SchedulerView View() const override { return book_.View(); }
  void BeginDrain() override { book_.BeginDrain(); }
  bool AwaitIdle(Instant deadline) override { return book_.AwaitIdle(deadline); }

  // As Executor::RunOnce. One thread at a time.
  bool RunOnce() { return executor_.RunOnce(); }
  // Waits until RunOnce may have something to do, or until Stop.
  void AwaitWork() { book_.AwaitWork(clock_); }
  void Stop() { book_.Stop(); }
  bool stopped() const { return book_.stopped(); }

 private:
  const SchedulerOptions options_;
  const Clock& clock_;
  RequestBook book_;
  Executor executor_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_STEPPED_SCHEDULER_H_
