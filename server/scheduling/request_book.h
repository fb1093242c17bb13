#ifndef LONGWAVE_SERVER_SCHEDULING_REQUEST_BOOK_H_
#define LONGWAVE_SERVER_SCHEDULING_REQUEST_BOOK_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/clock.h"
#include "model/base/mutex.h"
#include "server/scheduling/batch_former.h"
#include "server/scheduling/job_selector.h"
#include "server/scheduling/scheduler.h"
#include "server/scheduling/sequence.h"
#include "server/scheduling/sequence_queue.h"
#include "server/scheduling/virtual_clock.h"

namespace longwave {

// Everything that the callers of the scheduler and its executor share: the queue, which requests
// are open, and what is to be told to the executor. Thread-safe; calls consumers without its lock.
class RequestBook {
 public:
  using Ticket = Scheduler::Ticket;

  // What the executor has to act on before its next slice.
  struct Mail {
    std::vector<std::pair<Ticket, absl::Status>> cancels;
    std::set<Ticket> ready;  // their sinks have room
    bool abandon = false;    // end all
  };
  // A sequence of the queue with which a job could begin.
  struct Head {
    SliceCandidate candidate;
    uint64_t number = 0;
  };
  // What the executor holds, for View and for AwaitWork.
  struct ExecutorState {
    int64_t paused_jobs = 0;
    int64_t resident_bytes = 0;
    double running_seconds = 0;
    int64_t slices = 0;
    Instant next_event = kNever;  // when something is due without mail
  };

  // `options` outlive this.
  explicit RequestBook(const SchedulerOptions& options);

  // For callers.

  // All or none. The sequences have everything but ticket, key and arrival_slice.
  absl::StatusOr<Ticket> Admit(Sequences sequences, Priority priority, Instant deadline);
  void Cancel(Ticket ticket, const absl::Status& reason);
  void OnSinkReady(Ticket ticket);
  SchedulerView View() const;
  void BeginDrain();
  bool AwaitIdle(Instant deadline);

  // For the executor.

  Mail TakeMail();
  // Ends those of the queue whose deadline has passed.
  void EndExpired(Instant now);
  // Ends all of the queue with copies of `reason`; or those that wait for `model`.
  void EndQueue(const absl::Status& reason);
  void EndModel(const ServedModel& model, const absl::Status& reason);
  // Those that sequences of the queue wait for.
  std::set<const ServedModel*> WaitingModels() const;
  // The sequences that a new job could begin with: the first of each class, and the oldest of all.
  std::vector<Head> StartableHeads(const StartRoom& room) const;
  // The members of the job that begins with `number`; empty if it has left the queue.
  Sequences TakeBatch(uint64_t number, const StartRoom& room, Instant now);
  // The sequences, taken before, wait again in their old places.
  void Requeue(Sequences sequences);
  // Counts taken sequences as ended; their consumers know.
  void Close(const Sequences& sequences);
  // The request has been cancelled or has expired: it wants no more of its share.
  void Withdraw(Ticket ticket);
  // A slice worth `seconds` of predicted work of this class was run.
  void Serve(Priority priority, double seconds);
  void Publish(const ExecutorState& state);

  // Waits until there is mail or a new sequence, until the published next event of `clock` is due,
  // or until Stop.
  void AwaitWork(const Clock& clock);
  void Stop();
  bool stopped() const;

 private:
  // A request of which sequences have not ended.
  struct OpenRequest {
    Priority priority = Priority::kInteractive;
    double tag = 0;  // of the class's virtual clock
    size_t sequences = 0;
    bool withdrawn = false;
  };
  struct Taken {
    std::shared_ptr<ConsumerGate> gate;
    SequenceTimes times;
  };

  absl::Status CheckRoom(const Sequences& sequences) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Nanoseconds PredictedWait() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WithdrawLocked(Ticket ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  VirtualClock& clock_of(Priority priority) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return virtual_clocks_[static_cast<size_t>(priority)];
  }
  // Ends sequences that were taken from the queue, then counts them.
  void EndAll(Sequences sequences, const absl::Status& reason);

  const SchedulerOptions& options_;
  mutable Mutex mutex_;
  CondVar work_;
  CondVar idle_;
  SequenceQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::array<VirtualClock, 2> virtual_clocks_ ABSL_GUARDED_BY(mutex_);  // by priority
  std::unordered_map<Ticket, OpenRequest> open_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Taken> taken_ ABSL_GUARDED_BY(mutex_);  // the executor's, by number
  Mail mail_ ABSL_GUARDED_BY(mutex_);
  ExecutorState executor_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool awake_ ABSL_GUARDED_BY(mutex_) = false;  // something came since TakeMail
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_REQUEST_BOOK_H_
