#include "server/scheduling/request_book.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/scheduling/draining_error.h"
#include "server/scheduling/status_copy.h"

namespace longwave {
namespace {

constexpr Nanoseconds kLongestWait = std::chrono::hours(1);  // the sum with "now" stays in range

// `pace`: usual seconds of work in one of the clock's.
WaitingShape ShapeOf(const Sequence& sequence, Instant now = {}, double pace = 1) {
  const Instant deadline = sequence.key.deadline;
  const Nanoseconds left =
      deadline == kNever ? Nanoseconds::max() : FromSeconds(pace * ToSeconds(deadline - now));
  return {.tokens = sequence.tokens,
          .predicted = sequence.predicted,
          .peak_bytes = sequence.peak_bytes,
          .alone = sequence.alone,
          .left = left};
}

}  // namespace

RequestBook::RequestBook(const SchedulerOptions& options) : options_(options) {}

void RequestBook::Cancel(Ticket ticket, const absl::Status& reason) {
  Sequences waiting;
  {
    MutexLock lock(&mutex_);
    const auto request = open_.find(ticket);
    if (request == open_.end()) return;
    WithdrawLocked(ticket);
    waiting = queue_.TakeTicket(ticket);
    if (waiting.size() < request->second.sequences) {
      mail_.cancels.emplace_back(ticket, CopyStatus(reason));
      Wake();
    }
  }
  EndAll(std::move(waiting), reason);
}

void RequestBook::OnSinkReady(Ticket ticket) {
  MutexLock lock(&mutex_);
  if (!open_.contains(ticket)) return;
  mail_.ready.insert(ticket);
  Wake();
}

SchedulerView RequestBook::View() const {
  MutexLock lock(&mutex_);
  return {.queued_sequences = queue_.sequences(),
          .queued_tokens = queue_.tokens(),
          .running_sequences = static_cast<int64_t>(taken_.size()),
          .paused_jobs = executor_.paused_jobs,
          .resident_bytes = executor_.resident_bytes,
          .queued_seconds = ToSeconds(queue_.predicted()),
          .running_seconds = executor_.running_seconds};
}

void RequestBook::BeginDrain() {
  MutexLock lock(&mutex_);
  draining_ = true;
}

bool RequestBook::AwaitIdle(Instant deadline) {
  Sequences waiting;
  std::vector<Taken> running;
  {
    MutexLock lock(&mutex_);
    bool in_time = true;
    while (!open_.empty() && in_time) {
      if (deadline == kNever) {
        idle_.Wait(&mutex_);
      } else {
        in_time = idle_.WaitUntil(&mutex_, deadline);
      }
    }
    if (open_.empty()) return true;
    waiting = queue_.TakeAll();
    for (const auto& [number, taken] : taken_) running.push_back(taken);
    // The executor drops the jobs at its next slice. Their consumers are told here and now, since
    // a device that hangs would keep it from ever coming to that.
    mail_.abandon = true;
    Wake();
  }
  EndAll(std::move(waiting), DrainingError());
  for (const Taken& taken : running) taken.gate->End(DrainingError(), taken.times);
  return false;
}

RequestBook::Mail RequestBook::TakeMail() {
  Mail mail;
  std::vector<std::pair<Sequences, const absl::Status*>> requeued;
  {
    MutexLock lock(&mutex_);
    mail = std::exchange(mail_, {});
    awake_ = false;
    // A job that failed between Cancel and now has put its members back into the queue.
    for (const auto& [ticket, reason] : mail.cancels) {
      requeued.emplace_back(queue_.TakeTicket(ticket), &reason);
    }
  }
  for (auto& [sequences, reason] : requeued) EndAll(std::move(sequences), *reason);
  return mail;
}

void RequestBook::EndExpired(Instant now) {
  Sequences expired;
  {
    MutexLock lock(&mutex_);
    expired = queue_.TakeExpired(now);
    for (const auto& sequence : expired) WithdrawLocked(sequence->ticket);
  }
  EndAll(std::move(expired),
         MakeError(ErrorReason::kDeadlineExpired, "the deadline passed in the queue"));
}

void RequestBook::EndQueue(const absl::Status& reason) {
  Sequences waiting;
  {
    MutexLock lock(&mutex_);
    waiting = queue_.TakeAll();
    for (const auto& sequence : waiting) WithdrawLocked(sequence->ticket);
  }
  EndAll(std::move(waiting), reason);
}

void RequestBook::EndModel(const ServedModel& model, const absl::Status& reason) {
  Sequences waiting;
  {
    MutexLock lock(&mutex_);
    waiting = queue_.TakeModel(model);
    for (const auto& sequence : waiting) WithdrawLocked(sequence->ticket);
  }
  EndAll(std::move(waiting), reason);
}

std::set<std::shared_ptr<ServedModel>> RequestBook::WaitingModels() const {
  MutexLock lock(&mutex_);
  return queue_.Models();
}

void RequestBook::EndAll(Sequences sequences, const absl::Status& reason) {
  for (const auto& sequence : sequences) sequence->gate->End(CopyStatus(reason), sequence->times);
  Close(sequences);
}

RequestBook::Head RequestBook::MakeHead(const Sequence& sequence) const {
  return {.candidate = {.flow = sequence.flow,
                        .key = sequence.key,
                        .due = DueTime(sequence.key.deadline, sequence.predicted),
                        .slice_seconds =
                            ToSeconds(sequence.predicted) / static_cast<double>(sequence.slices),
                        .started = false,
                        .waited = sequence.alone ? executor_.slices - sequence.arrival_slice : 0},
          .number = sequence.key.number};
}

void RequestBook::AddHeads(const SequenceQueue::Line& line, const StartRoom& room, Instant now,
                           std::vector<Head>& heads) const {
  BatchFormer former(options_, room);
  for (const auto& [key, sequence] : line.in_order) {
    if (former.Consider(ShapeOf(*sequence)) != BatchFormer::Verdict::kTake) continue;
    heads.push_back(MakeHead(*sequence));
    break;
  }
  const auto& [due, number] = *line.by_due.begin();
  if (due > now) return;
  const Sequence& urgent = *queue_.Find(number);
  if (BatchFormer(options_, room).Consider(ShapeOf(urgent)) == BatchFormer::Verdict::kTake) {
    heads.push_back(MakeHead(urgent));
  }
}

std::vector<RequestBook::Head> RequestBook::StartableHeads(const StartRoom& room,
                                                           Instant now) const {
  std::vector<Head> heads;
  MutexLock lock(&mutex_);
  for (const auto& [flow, line] : queue_.lines()) AddHeads(line, room, now, heads);
  for (const Sequence* const sequence : {queue_.OldestLong(), queue_.Impatient()}) {
    if (sequence == nullptr) continue;
    BatchFormer former(options_, RoomOf(*sequence, room));
    if (former.Consider(ShapeOf(*sequence)) != BatchFormer::Verdict::kTake) continue;
    heads.push_back(MakeHead(*sequence));
  }
  return heads;
}

int64_t RequestBook::ImpatientPeak() const {
  MutexLock lock(&mutex_);
  const Sequence* const impatient = queue_.Impatient();
  return impatient == nullptr ? 0 : impatient->peak_bytes;
}

StartRoom RequestBook::RoomOf(const Sequence& sequence, StartRoom room) const {
  if (&sequence == queue_.Impatient()) room.long_bytes = room.impatient_bytes;
  return room;
}

void RequestBook::TakeMates(const SequenceQueue::Line& line, const Mates& wanted, double most,
                            BatchFormer& former, std::vector<uint64_t>& numbers) {
  double taken = 0;
  for (const auto& [key, sequence] : line.in_order) {
    if (key.number == wanted.first.key.number || sequence->model != wanted.first.model) continue;
    const double seconds = ToSeconds(sequence->predicted) / sequence->flow.share;
    if (taken + seconds > most) break;
    const BatchFormer::Verdict verdict =
        former.Consider(ShapeOf(*sequence, wanted.now, wanted.pace));
    if (verdict == BatchFormer::Verdict::kFull) break;
    if (verdict == BatchFormer::Verdict::kPass) continue;
    numbers.push_back(key.number);
    taken += seconds;
  }
}

std::vector<uint64_t> RequestBook::ChooseMates(const Mates& wanted, BatchFormer& former) const {
  const Sequence& first = wanted.first;
  std::vector<uint64_t> numbers = {first.key.number};
  TakeMates(*queue_.Find(first.flow), wanted, std::numeric_limits<double>::infinity(), former,
            numbers);
  // Who has the turn waits for its mates: other tenants may come along within one slice of its own.
  const double slice = ToSeconds(first.predicted) / static_cast<double>(first.slices);
  for (const auto& [flow, line] : queue_.lines()) {
    if (flow.priority != first.flow.priority || flow == first.flow) continue;
    TakeMates(line, wanted, slice / first.flow.share, former, numbers);
  }
  return numbers;
}

Sequences RequestBook::TakeBatch(uint64_t number, const StartRoom& room, Instant now) {
  MutexLock lock(&mutex_);
  const Sequence* const first = queue_.Find(number);
  if (first == nullptr) return {};
  BatchFormer former(options_, RoomOf(*first, room));
  const double pace = 1 / first->model->cost.Weather();
  if (former.Consider(ShapeOf(*first, now, pace)) != BatchFormer::Verdict::kTake) return {};
  const std::vector<uint64_t> numbers = ChooseMates({*first, now, pace}, former);
  Sequences batch;
  for (const uint64_t member : numbers) {
    batch.push_back(queue_.Take(member));
    SequenceTimes& times = batch.back()->times;
    if (times.popped == Instant{}) times.popped = now;
    taken_[member] = {.gate = batch.back()->gate, .times = times};
  }
  if (batch.front()->alone) queue_.CountPass(room.impatient_bytes);
  return batch;
}

void RequestBook::Requeue(Sequences sequences) {
  MutexLock lock(&mutex_);
  for (auto& sequence : sequences) {
    taken_.erase(sequence->key.number);
    queue_.Push(std::move(sequence));
  }
  awake_ = true;
}

void RequestBook::Close(const Sequences& sequences) {
  if (sequences.empty()) return;
  MutexLock lock(&mutex_);
  for (const auto& sequence : sequences) {
    taken_.erase(sequence->key.number);
    const auto request = open_.find(sequence->ticket);
    if (--request->second.sequences > 0) continue;
    Leave(request->second);
    open_.erase(request);
  }
  if (open_.empty()) idle_.NotifyAll();
}

void RequestBook::Withdraw(Ticket ticket) {
  MutexLock lock(&mutex_);
  WithdrawLocked(ticket);
}

void RequestBook::WithdrawLocked(Ticket ticket) {
  const auto request = open_.find(ticket);
  if (request == open_.end() || request->second.withdrawn) return;
  request->second.withdrawn = true;
  virtual_clocks_[request->second.flow].Withdraw(request->second.tag);
}

void RequestBook::Serve(absl::Span<const FlowPart> parts) {
  MutexLock lock(&mutex_);
  for (const FlowPart& part : parts) {
    const auto clock = virtual_clocks_.find(part.flow);
    if (clock != virtual_clocks_.end()) clock->second.Serve(part.encoder_seconds);
  }
}

void RequestBook::Publish(ExecutorState state) {
  MutexLock lock(&mutex_);
  executor_ = std::move(state);
  executor_.next_event = std::min(executor_.next_event, queue_.NextDeadline());
}

void RequestBook::AwaitWork(const Clock& clock) {
  MutexLock lock(&mutex_);
  while (!awake_ && !stopped_) {
    const Instant event = executor_.next_event;
    if (event == kNever) {
      work_.Wait(&mutex_);
      continue;
    }
    // The event is of the injected clock, the wait of the steady one.
    const Nanoseconds left = event - clock.Now();
    if (left <= Nanoseconds(0)) return;
    const Instant end = std::chrono::steady_clock::now() + std::min(left, kLongestWait);
    if (!work_.WaitUntil(&mutex_, end)) return;
  }
}

void RequestBook::Stop() {
  MutexLock lock(&mutex_);
  stopped_ = true;
  Wake();
}

bool RequestBook::stopped() const {
  MutexLock lock(&mutex_);
  return stopped_;
}

void RequestBook::Wake() {
  awake_ = true;
  work_.NotifyAll();
}

}  // namespace longwave
