#include "server/scheduling/scheduler.h"

#include <pthread.h>

#include <cmath>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/base/error.h"
#include "server/scheduling/stepped_scheduler.h"

namespace longwave {
namespace {

class ThreadedScheduler final : public Scheduler {
 public:
  ThreadedScheduler(const SchedulerOptions& options, const Clock* clock,
                    SchedulerObserver* observer)
      : scheduler_(options, clock, observer), thread_([this] { Execute(); }) {}

  ~ThreadedScheduler() override {
    scheduler_.BeginDrain();
    scheduler_.AwaitIdle(Instant::min());  // ends what is left
    scheduler_.Stop();
    thread_.join();
  }

  absl::StatusOr<Ticket> Submit(std::vector<SequenceTask> tasks,
                                const RequestTerms& terms) override {
    return scheduler_.Submit(std::move(tasks), terms);
  }
  Forecast Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                   const RequestTerms& terms) const override {
    return scheduler_.Foresee(model, shapes, terms);
  }
  void Cancel(Ticket ticket, absl::Status reason) override {
    scheduler_.Cancel(ticket, std::move(reason));
  }
  void OnSinkReady(Ticket ticket) override { scheduler_.OnSinkReady(ticket); }
  SchedulerView View() const override { return scheduler_.View(); }
  void BeginDrain() override { scheduler_.BeginDrain(); }
  bool AwaitIdle(Instant deadline) override { return scheduler_.AwaitIdle(deadline); }

 private:
  void Execute() {
    pthread_setname_np(pthread_self(), "executor");
    while (true) {
      if (scheduler_.RunOnce()) continue;
      if (scheduler_.stopped()) return;
      scheduler_.AwaitWork();
    }
  }

  SteppedScheduler scheduler_;
  std::thread thread_;  // last: it uses the above
};

struct Range {
  const char* flag;
  double value;
  double low;
  double high;
};

}  // namespace

absl::Status SchedulerOptions::Validate() const {
  constexpr double kMostTokens = 1e12;
  constexpr double kMostBytes = 1e15;
  constexpr double kMostSeconds = 86400;
  const Range ranges[] = {
      {"--max_queue_sequences", static_cast<double>(admission.max_queue_sequences), 1, 65536},
      {"--max_queue_tokens", static_cast<double>(admission.max_queue_tokens), 1, kMostTokens},
      {"--max_host_bytes", static_cast<double>(admission.max_host_bytes), 1, kMostBytes},
      {"--max_wait", admission.max_wait_seconds, 0, kMostSeconds},
      {"--max_batch_class_wait", admission.max_batch_class_wait_seconds, 0, kMostSeconds},
      {"--grace", admission.max_job_seconds, 0, kMostSeconds},
      {"--max_batch_seconds", max_batch_seconds, 0, 3600},
      {"--max_batch_tokens", static_cast<double>(max_batch_tokens), 1, kMostTokens},
      {"--max_batch_sequences", static_cast<double>(max_batch_sequences), 1, 65536},
      {"--max_resident_bytes", static_cast<double>(max_resident_bytes), 1, kMostBytes},
      {"--max_paused_jobs", static_cast<double>(max_paused_jobs), 0, 1024},
      {"--max_stall", max_stall_seconds, 0.001, 86400}};
  std::vector<std::string> problems;
  for (const Range& range : ranges) {
    if (range.value >= range.low && range.value <= range.high) continue;  // false for NaN
    problems.push_back(absl::StrCat(range.flag, " = ", range.value, " is not in [", range.low, ", ",
                                    range.high, "]"));
  }
  if (problems.empty()) return absl::OkStatus();
  return MakeError(ErrorReason::kInvalidField, absl::StrJoin(problems, "; "));
}

absl::StatusOr<std::unique_ptr<Scheduler>> Scheduler::Create(const SchedulerOptions& options,
                                                             const Clock* clock,
                                                             SchedulerObserver* observer) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return std::make_unique<ThreadedScheduler>(options, clock, observer);
}

}  // namespace longwave
