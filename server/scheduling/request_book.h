#ifndef LONGWAVE_SERVER_SCHEDULING_REQUEST_BOOK_H_
#define LONGWAVE_SERVER_SCHEDULING_REQUEST_BOOK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/clock.h"
#include "model/base/mutex.h"
#include "server/admission/admission_policy.h"
#include "server/admission/host_memory.h"
#include "server/admission/quota_bucket.h"
#include "server/scheduling/batch_former.h"
#include "server/scheduling/job_selector.h"
#include "server/scheduling/scheduler.h"
#include "server/scheduling/sequence.h"
#include "server/scheduling/sequence_queue.h"
#include "server/scheduling/virtual_clock.h"

namespace longwave {

// What a request takes, in seconds of usual weather.
struct RequestPrice {
  int64_t sequences = 0;
  int64_t tokens = 0;
  double seconds = 0;          // of the engine, alone
  double shared_seconds = 0;   // as part of the batches that its sequences will ride in
  double longest_seconds = 0;  // of one sequence
  double encoder_seconds = 0;  // by the encoder: the order goes by it
  double weather = 1;
  double high_ratio = 1;  // CostModel::HighRatio
  bool alone = true;      // none of its sequences takes mates
};

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
  // What is left of a flow's part of a started job, in predicted seconds.
  struct Running {
    Flow flow;
    double finish = 0;  // the job's tag
    double seconds = 0;
  };
  // What the executor holds, for View, admission and AwaitWork.
  struct ExecutorState {
    std::vector<Running> running;
    int64_t paused_jobs = 0;
    int64_t resident_bytes = 0;
    double running_seconds = 0;
    int64_t slices = 0;
    Instant next_event = kNever;  // when something is due without mail
  };

  // `options` outlive this.
  explicit RequestBook(const SchedulerOptions& options);

  // For callers.

  // All or none. The sequences have everything but ticket, flow, key and arrival_slice; `price` is
  // theirs.
  absl::StatusOr<Ticket> Admit(Sequences sequences, const RequestPrice& price,
                               const RequestTerms& terms, Instant now);
  // What Admit would decide.
  AdmissionDecision Foresee(const RequestPrice& price, const RequestTerms& terms,
                            Instant now) const;
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
  std::set<std::shared_ptr<ServedModel>> WaitingModels() const;
  // The sequences that a new job could begin with: of each flow the first and the one that is due
  // first, if it is due; and the oldest of those that ride alone.
  std::vector<Head> StartableHeads(const StartRoom& room, Instant now) const;
  // The peak of the long sequence that memory is to be kept for; 0: there is none.
  int64_t ImpatientPeak() const;
  // The members of the job that begins with `number`; empty if it has left the queue.
  Sequences TakeBatch(uint64_t number, const StartRoom& room, Instant now);
  // The sequences, taken before, wait again in their old places.
  void Requeue(Sequences sequences);
  // Counts taken sequences as ended; their consumers know.
  void Close(const Sequences& sequences);
  // The request has been cancelled or has expired: it wants no more of its share.
  void Withdraw(Ticket ticket);
  // A slice was run that did this work.
  void Serve(absl::Span<const FlowPart> parts);
  void Publish(ExecutorState state);

  // Waits until there is mail or a new sequence, until the published next event of `clock` is due,
  // or until Stop.
  void AwaitWork(const Clock& clock);
  void Stop();
  bool stopped() const;

 private:
  // A tenant that has sent a request: their names come from the operator's file, so there are only
  // so many. The number is for good, or a tenant would be a new one, who has saved up something, at
  // every request.
  struct TenantEntry {
    uint64_t number = 0;
    int64_t open = 0;  // requests
    std::shared_ptr<HostMemory> memory = std::make_shared<HostMemory>();
    mutable QuotaBucket quota;  // follows the file's, when it is looked at
  };
  // A request of which sequences have not ended.
  struct OpenRequest {
    Flow flow;
    TenantEntry* tenant = nullptr;
    double tag = 0;  // of the flow's virtual clock
    size_t sequences = 0;
    HostReservation memory;  // its ids; its reply too if nobody else holds that
    bool withdrawn = false;
  };
  struct Taken {
    std::shared_ptr<ConsumerGate> gate;
    SequenceTimes times;
  };

  AdmissionDecision Decide(const RequestPrice& price, const RequestTerms& terms, Instant now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of all accepted work of `flow`, what is served before a request of this tag.
  double SecondsAhead(const Flow& flow, double tag) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The share of the engine that is the flow's while everybody who has work wants it.
  double GuaranteedRate(const Flow& flow) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Where the bytes of a request count.
  HostAccounts AccountsOf(const Flow& flow, const TenantEntry& tenant) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What flows hold of the queue, together.
  Holding HeldBy(absl::FunctionRef<bool(const Flow&)> whose) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The flow of a request; tenant 0 if the tenant is not known yet.
  Flow FlowOf(const RequestTerms& terms) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  TenantEntry& Enter(const Tenant& tenant, Instant now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(const OpenRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Head MakeHead(const Sequence& sequence) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What mates are to go with, when, and how many usual seconds of work the engine does in one.
  struct Mates {
    const Sequence& first;
    Instant now{};
    double pace = 1;
  };
  // The members of a batch that begins with `first`, itself first, which `former` has taken.
  std::vector<uint64_t> ChooseMates(const Mates& wanted, BatchFormer& former) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds what `former` takes of a line to `numbers`, up to `most` seconds for a share of 1.
  static void TakeMates(const SequenceQueue::Line& line, const Mates& wanted, double most,
                        BatchFormer& former, std::vector<uint64_t>& numbers);
  // What `room` is to this sequence.
  StartRoom RoomOf(const Sequence& sequence, StartRoom room) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddHeads(const SequenceQueue::Line& line, const StartRoom& room, Instant now,
                std::vector<Head>& heads) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WithdrawLocked(Ticket ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends sequences that were taken from the queue, then counts them.
  void EndAll(Sequences sequences, const absl::Status& reason);

  const SchedulerOptions& options_;
  mutable Mutex mutex_;
  CondVar work_;
  CondVar idle_;
  SequenceQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::map<Flow, VirtualClock> virtual_clocks_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, TenantEntry> tenants_ ABSL_GUARDED_BY(mutex_);  // by name
  std::map<Flow, int64_t> open_by_flow_ ABSL_GUARDED_BY(mutex_);        // requests; none zero
  uint64_t next_tenant_ ABSL_GUARDED_BY(mutex_) = 1;
  // Shared: replies that clients have not taken may outlive this. Grows under the lock only, so
  // what Decide sees is not exceeded.
  // Of all requests, and of the batch class.
  const std::shared_ptr<HostMemory> host_memory_ = std::make_shared<HostMemory>();
  const std::shared_ptr<HostMemory> batch_memory_ = std::make_shared<HostMemory>();
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
