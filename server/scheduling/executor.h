#ifndef LONGWAVE_SERVER_SCHEDULING_EXECUTOR_H_
#define LONGWAVE_SERVER_SCHEDULING_EXECUTOR_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "server/scheduling/batch_former.h"
#include "server/scheduling/job_selector.h"
#include "server/scheduling/request_book.h"
#include "server/scheduling/running_job.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// Computes what the request book holds, one slice per RunOnce, on whatever single thread calls it.
class Executor {
 public:
  // All outlive the executor; `observer` may be null.
  Executor(const SchedulerOptions& options, RequestBook* book, const Clock* clock,
           SchedulerObserver* observer);

  // Ends what is cancelled, expired or stalled, then runs the next slice. False if there was
  // nothing to run: then nothing will be until there is mail or the published next event is due.
  bool RunOnce();

 private:
  // One candidate for the next slice: a started job, or the number of a waiting sequence.
  struct Option {
    SliceCandidate candidate;
    RunningJob* job = nullptr;
    uint64_t number = 0;
  };

  void EndDoomed(Instant now);
  void EndStalled(RunningJob& job, Instant now);
  void ReadMail();
  // Ends what waits for or rides on a model that can do no more.
  void CheckHealth();
  void CheckHealth(const ServedModel& model);
  void EndEverything(const absl::Status& reason);
  // As RunningJob::EndWhere, for all jobs.
  void EndWhere(absl::FunctionRef<absl::Status(const Sequence&)> reason_for);

  HeldJobs Held() const;
  std::vector<Option> Options(const StartRoom& room);
  // Starts a job with this sequence and what may go with it. Null if that failed.
  RunningJob* StartJob(uint64_t number, const StartRoom& room);
  void RunSlice(RunningJob& job, JobSelector::Turn turn);
  void OnError(RunningJob& job, absl::Status status);
  void OnDone(RunningJob& job);
  // Forgets jobs without members, publishes what is left, then counts the ended members.
  void Sweep();
  static void AddRunning(const RunningJob& job, RequestBook::ExecutorState& state);
  void Publish(bool stepping);

  const SchedulerOptions& options_;
  RequestBook& book_;
  const Clock& clock_;
  SchedulerObserver* const observer_;
  const Nanoseconds max_stall_;
  JobSelector selector_;
  std::vector<std::unique_ptr<RunningJob>> jobs_;
  int64_t slices_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_EXECUTOR_H_
