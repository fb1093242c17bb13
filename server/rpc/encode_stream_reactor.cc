#include "server/rpc/encode_stream_reactor.h"

#include <algorithm>
#include <chrono>

#include "model/base/error.h"
#include "server/rpc/caller.h"
#include "server/rpc/deadline.h"
#include "server/rpc/message_io.h"
#include "server/rpc/status_details.h"
#include "server/rpc/trace_parent.h"

namespace longwave {
namespace {

// Strays of tags that ended early are expected, but a client that never sends End must not make
// the server remember for ever.
constexpr size_t kMaxEndedEarly = 4096;

Instant CallDeadline(grpc::CallbackServerContext* context, Instant now) {
  const std::optional<Nanoseconds> left = TimeLeft(context->raw_deadline());
  return left.has_value() ? now + *left : kNever;
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EncodeStreamReactor::Start(
    ServiceCore* core, grpc::CallbackServerContext* context) {
  auto reactor = std::make_shared<EncodeStreamReactor>(core, context);
  reactor->self_ = reactor;
  reactor->Begin();
  return reactor.get();
}

EncodeStreamReactor::EncodeStreamReactor(ServiceCore* core, grpc::CallbackServerContext* context)
    : core_(core),
      guarded_(&core->guard(), context),
      context_(context),
      trace_(TraceContextOf(*context)),
      call_deadline_(CallDeadline(context, core->clock().Now())),
      idle_since_(core->clock().Now()) {}

void EncodeStreamReactor::Begin() {
  core_->AddListener(weak_from_this());
  const auto caller = IdentifyCaller(core_->authenticator(), *context_);
  absl::StatusOr<Backend> backend =
      caller.ok() ? core_->Enter() : absl::StatusOr<Backend>(caller.status());
  Decided decided;
  {
    MutexLock lock(&mutex_);
    if (backend.ok()) {
      scheduler_ = backend->scheduler;
      Arm(idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds));
    } else {
      Break(backend.status(), decided);
    }
  }
  if (backend.ok()) StartRead(&in_);
  Do(std::move(decided));
}

void EncodeStreamReactor::OnReadDone(bool ok) {
  Decided decided;
  if (!ok) {
    if (!heard_ && context_->IsCancelled()) guarded_.WasEmpty();
    MutexLock lock(&mutex_);
    half_closed_ = true;
    // A client that leaves ends the reading too, often before OnCancel.
    const absl::Status error = context_->IsCancelled()
                                   ? MakeError(ErrorReason::kCancelled, "the client left")
                                   : MakeError(ErrorReason::kProtocolViolation,
                                               "the client closed its side before StreamEnd");
    for (const auto& [id, tag] : tags_) {
      if (tag->phase() == StreamTag::Phase::kReceiving) {
        tag->end_received = true;
        Fail(*tag, error, decided);
      }
    }
    Advance(decided);
  } else {
    heard_ = true;
    v1::EncodeStreamRequest message;
    if (absl::Status status = ParseMessage(&in_, &message); !status.ok()) {
      // Without its tag nobody knows what was meant: the stream has lost its place.
      MutexLock lock(&mutex_);
      Break(status, decided);
    } else {
      Handle(message);
    }
  }
  bool go_on = false;
  {
    MutexLock lock(&mutex_);
    go_on = ok && MayRead();
  }
  Do(std::move(decided));
  if (go_on) StartRead(&in_);
}

bool EncodeStreamReactor::MayRead() {
  if (!broken_.ok() || finished_) return false;
  reading_paused_ = tags_.size() > static_cast<size_t>(core_->options().max_stream_tags);
  return !reading_paused_;
}

RowSink::Answer EncodeStreamReactor::OnRows(StreamTag& tag, size_t sequence, int64_t first_row,
                                            RowBlock rows) {
  Decided decided;
  RowSink::Answer answer;
  {
    MutexLock lock(&mutex_);
    answer = tag.OnRows(sequence, first_row, rows);
    Advance(decided);
  }
  Do(std::move(decided));
  return answer;
}

void EncodeStreamReactor::OnProgress(StreamTag& tag, size_t sequence, double fraction) {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    if (tag.error().ok()) tag.OnProgress(sequence, fraction);
    Advance(decided);
  }
  Do(std::move(decided));
}

void EncodeStreamReactor::OnSequenceEnd(StreamTag& tag, size_t sequence,
                                        absl::StatusOr<SequenceReport> result,
                                        const SequenceTimes& times) {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    const bool was_ok = tag.error().ok();
    tag.OnSequenceEnd(sequence, std::move(result), times);
    if (was_ok && !tag.error().ok() && tag.phase() == StreamTag::Phase::kRunning &&
        tag.ticket.has_value()) {
      decided.cancel.emplace_back(*tag.ticket, tag.error());
    }
    Advance(decided);
  }
  Do(std::move(decided));
}

void EncodeStreamReactor::OnWriteDone(bool ok) {
  Decided decided;
  bool read_again = false;
  {
    MutexLock lock(&mutex_);
    writing_ = false;
    const TagPtr tag = std::move(writing_tag_);
    tag->MessageWritten();
    if (tag->TakeReady()) {
      if (tag->ticket.has_value()) {
        decided.ready.push_back(*tag->ticket);
      } else {
        tag->ready_before_ticket = true;
      }
    }
    if (!ok) Break(MakeError(ErrorReason::kCancelled, "the client left"), decided);
    Advance(decided);
    // While failures wait something is being written, so this comes; and in here, unlike on the
    // executor's thread, the call cannot end before the read begins.
    read_again = reading_paused_ && MayRead();
  }
  Do(std::move(decided));
  if (read_again) StartRead(&in_);
}

void EncodeStreamReactor::OnCancel() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    // gRPC cancels at the caller's deadline too.
    Break(core_->clock().Now() >= call_deadline_
              ? MakeError(ErrorReason::kDeadlineExpired, "the deadline passed")
              : MakeError(ErrorReason::kCancelled, "the client left"),
          decided);
  }
  Do(std::move(decided));
}

void EncodeStreamReactor::OnDone() {
  const std::shared_ptr<EncodeStreamReactor> self = std::move(self_);  // may be the last one
  MutexLock lock(&mutex_);
  alarm_.reset();
}

void EncodeStreamReactor::OnDrain() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    draining_ = true;
    Advance(decided);
  }
  Do(std::move(decided));
}

void EncodeStreamReactor::OnAbort() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    aborted_ = true;
    FailAll(MakeError(ErrorReason::kDraining, "the server is shutting down"), decided);
    Advance(decided);
  }
  Do(std::move(decided));
}

EncodeStreamReactor::TagPtr EncodeStreamReactor::Find(uint64_t id) {
  const auto found = tags_.find(id);
  return found == tags_.end() ? nullptr : found->second;
}

void EncodeStreamReactor::Fail(StreamTag& tag, const absl::Status& error, Decided& decided) {
  const bool running = tag.phase() == StreamTag::Phase::kRunning && tag.error().ok();
  tag.Fail(error);
  if (running && tag.ticket.has_value()) decided.cancel.emplace_back(*tag.ticket, error);
}

void EncodeStreamReactor::FailAll(const absl::Status& error, Decided& decided) {
  for (const auto& [id, tag] : tags_) Fail(*tag, error, decided);
}

void EncodeStreamReactor::Break(const absl::Status& error, Decided& decided) {
  if (broken_.ok()) broken_ = error;
  FailAll(error, decided);
  Advance(decided);
}

void EncodeStreamReactor::Advance(Decided& decided) {
  if (!broken_.ok()) {
    // Nobody listens: tags end as soon as the scheduler lets go of them.
    std::vector<TagPtr> ended;
    for (const auto& [id, tag] : tags_) {
      if (tag->phase() == StreamTag::Phase::kEnded) ended.push_back(tag);
    }
    for (const TagPtr& tag : ended) {
      tag->Abandon();
      Forget(*tag);
    }
  }
  if (finished_ || writing_) return;
  if (broken_.ok() && TakeNextMessage()) {
    writing_ = true;
    write_started_ = core_->clock().Now();
    Arm(write_started_ + FromSeconds(core_->options().max_stall_seconds));
    decided.write = true;
    return;
  }
  if (broken_.ok() && !(tags_.empty() && (half_closed_ || draining_))) return;
  finished_ = true;
  if (broken_.ok() && half_closed_) {
    decided.finish = grpc::Status::OK;
  } else {
    const absl::Status error =
        broken_.ok() ? MakeError(ErrorReason::kDraining, "the server is shutting down") : broken_;
    decided.finish = ToWireError(error, NextJitter()).status;
  }
}

bool EncodeStreamReactor::TakeNextMessage() {
  // Tags take turns: the first one above the last writer that has something to say.
  auto next = tags_.upper_bound(last_written_);
  for (size_t tried = 0; tried < tags_.size(); ++tried, ++next) {
    if (next == tags_.end()) next = tags_.begin();
    const TagPtr tag = next->second;
    std::optional<v1::EncodeStreamResponse> message = tag->NextMessage();
    if (!message.has_value()) continue;
    const grpc::Slice slice = SerializeMessage(*message);
    out_ = grpc::ByteBuffer(&slice, 1);
    last_written_ = tag->id();
    writing_tag_ = tag;
    if (tag->over()) Forget(*tag);
    return true;
  }
  return false;
}

void EncodeStreamReactor::Forget(StreamTag& tag) {
  if (!tag.end_received && !half_closed_) {
    ended_early_.insert(tag.id());
    if (ended_early_.size() > kMaxEndedEarly) ended_early_.erase(ended_early_.begin());
  }
  tags_.erase(tag.id());
  if (tags_.empty()) {
    idle_since_ = core_->clock().Now();
    Arm(idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds));
  }
}

void EncodeStreamReactor::Do(Decided decided) {
  if (decided.write) StartWrite(&out_);
  for (auto& [ticket, reason] : decided.cancel) {
    scheduler_->Cancel(ticket, std::move(reason));
  }
  for (const Scheduler::Ticket ticket : decided.ready) scheduler_->OnSinkReady(ticket);
  if (decided.finish.has_value()) Finish(*std::move(decided.finish));
}

void EncodeStreamReactor::Arm(Instant when) {
  if (finished_ || when >= armed_for_) return;
  armed_for_ = when;
  // A new alarm each time: one that is ringing cannot be set again. The old one is cancelled.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(ToGrpcTime(when), [weak = weak_from_this()](bool rang) {
    if (!rang) return;
    if (const auto stream = weak.lock()) stream->OnTimer();
  });
}

void EncodeStreamReactor::OnTimer() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    armed_for_ = kNever;
    if (finished_) return;
    const Instant now = core_->clock().Now();
    Instant next = kNever;
    if (writing_) {
      const Instant stalled = write_started_ + FromSeconds(core_->options().max_stall_seconds);
      if (now >= stalled) {
        Break(MakeError(ErrorReason::kSlowReader, "the client takes no messages"), decided);
        // The write that is stuck ends by this alone. Here, since without the lock the call could
        // end, and the context with it.
        context_->TryCancel();
      } else {
        next = std::min(next, stalled);
      }
    }
    for (const auto& [id, tag] : tags_) {
      if (tag->deadline() <= now) {
        Fail(*tag, MakeError(ErrorReason::kDeadlineExpired, "the deadline passed"), decided);
      } else {
        next = std::min(next, tag->deadline());
      }
    }
    const Instant idle_end =
        idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds);
    if (tags_.empty() && now >= idle_end) {
      Break(MakeError(ErrorReason::kDeadlineExpired, "the stream was idle for too long"), decided);
    } else if (tags_.empty()) {
      next = std::min(next, idle_end);
    }
    Advance(decided);
    if (next != kNever) Arm(next);
  }
  Do(std::move(decided));
}

}  // namespace longwave
