// What a client's messages do to a stream: the half of EncodeStreamReactor that reads.
#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/rpc/caller.h"
#include "server/rpc/encode_stream_reactor.h"

namespace longwave {
namespace {

// How long a client with too many open tags should wait.
constexpr std::chrono::milliseconds kTagRetry{100};

absl::Status Violation(absl::string_view what) {
  return MakeError(ErrorReason::kProtocolViolation, what);
}

}  // namespace

// Carries the rows of one sequence to its tag.
class EncodeStreamReactor::Consumer final : public SequenceConsumer {
 public:
  Consumer(std::shared_ptr<EncodeStreamReactor> stream, TagPtr tag, size_t sequence)
      : stream_(std::move(stream)), tag_(std::move(tag)), sequence_(sequence) {}

  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    return stream_->OnRows(*tag_, sequence_, first_row, rows);
  }
  void OnProgress(double fraction) override { stream_->OnProgress(*tag_, sequence_, fraction); }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    // The scheduler may keep the consumer for a while; the call must not wait for that.
    const std::shared_ptr<EncodeStreamReactor> stream = std::move(stream_);
    const TagPtr tag = std::move(tag_);
    stream->OnSequenceEnd(*tag, sequence_, std::move(result), times);
  }

 private:
  std::shared_ptr<EncodeStreamReactor> stream_;
  TagPtr tag_;
  const size_t sequence_;
};

void EncodeStreamReactor::Handle(const v1::EncodeStreamRequest& message) {
  if (message.message_case() == v1::EncodeStreamRequest::kEnd) {
    HandleEnd(message.tag());
    return;
  }
  if (message.message_case() == v1::EncodeStreamRequest::kOpen) {
    HandleOpen(message.tag(), message.open());
    return;
  }
  Decided decided;
  {
    MutexLock lock(&mutex_);
    if (!broken_.ok() || finished_) return;
    switch (message.message_case()) {
      case v1::EncodeStreamRequest::kData:
        HandleData(message.tag(), message.data(), decided);
        break;
      case v1::EncodeStreamRequest::kCancel:
        HandleCancel(message.tag(), decided);
        break;
      default:
        if (const TagPtr tag = Find(message.tag())) {
          Fail(*tag, Violation("a stream message that says nothing"), decided);
        } else {
          HandleStray(message.tag(), "a stream message that says nothing");
        }
    }
    Advance(decided);
  }
  Do(std::move(decided));
}

void EncodeStreamReactor::HandleOpen(uint64_t id, const v1::StreamOpen& open) {
  Decided decided;
  bool may_open = false;
  {
    MutexLock lock(&mutex_);
    if (!broken_.ok() || finished_) return;
    may_open = MayOpen(id, decided);
    if (!may_open) Advance(decided);
  }
  Do(std::move(decided));
  if (!may_open) return;
  // Without the lock: a large Open takes long to check, and the executor's thread has rows for
  // other tags of this stream. Messages are handled one after the other, so no tag of this id
  // begins meanwhile.
  const TagPtr tag = MakeTag(id, open);
  Decided then;
  {
    MutexLock lock(&mutex_);
    Insert(tag);
    Advance(then);
  }
  Do(std::move(then));
}

bool EncodeStreamReactor::MayOpen(uint64_t id, Decided& decided) {
  if (const TagPtr tag = Find(id)) {
    Fail(*tag, Violation("StreamOpen for a tag that is open"), decided);
    return false;
  }
  ended_early_.erase(id);
  if (tags_.size() < static_cast<size_t>(core_->options().max_stream_tags)) return true;
  AddFailed(id, MakeError({.reason = ErrorReason::kQueueFull,
                           .limit = absl::StrCat(core_->options().max_stream_tags),
                           .retry_after = kTagRetry},
                          "too many requests are open on this stream"));
  return false;
}

EncodeStreamReactor::TagPtr EncodeStreamReactor::MakeTag(uint64_t id,
                                                         const v1::StreamOpen& open) const {
  auto tag = std::make_shared<StreamTag>(id, core_, trace_);
  auto tenant = IdentifyOpen(open);
  if (!tenant.ok()) {
    tag->Fail(tenant.status());
    return tag;
  }
  tag->SetTenant(*std::move(tenant));
  const absl::StatusOr<Backend> backend = core_->Enter();
  const Instant deadline =
      std::min(call_deadline_,
               core_->clock().Now() + FromSeconds(core_->options().max_stream_deadline_seconds));
  const absl::Status status = backend.ok() ? tag->Open(open, *backend, deadline) : backend.status();
  if (!status.ok()) tag->Fail(status);
  return tag;
}

void EncodeStreamReactor::Insert(const TagPtr& tag) {
  // What happened to all tags while this one was none yet.
  if (!broken_.ok()) {
    tag->Fail(broken_);
  } else if (aborted_ || finished_) {
    tag->Fail(MakeError(ErrorReason::kDraining, "the server is shutting down"));
  }
  if (finished_) {
    tag->Abandon();
    return;
  }
  tags_[tag->id()] = tag;
  if (tag->error().ok()) Arm(tag->deadline());
}

absl::StatusOr<std::shared_ptr<const Tenant>> EncodeStreamReactor::IdentifyOpen(
    const v1::StreamOpen& open) const {
  auto tenant = IdentifyCaller(core_->authenticator(), *context_);
  if (!tenant.ok()) return tenant;
  absl::Status claim =
      CheckTenantField(core_->authenticator(), tenant->get(), open.request().tenant());
  if (!claim.ok()) return claim;
  return tenant;
}

void EncodeStreamReactor::HandleData(uint64_t id, const v1::StreamData& data, Decided& decided) {
  const TagPtr tag = Find(id);
  if (tag == nullptr) {
    HandleStray(id, "StreamData for a tag that is not open");
  } else if (tag->end_received) {
    Fail(*tag, Violation("StreamData after StreamEnd"), decided);
  } else if (tag->phase() == StreamTag::Phase::kReceiving) {
    if (absl::Status status = tag->AddIds(data); !status.ok()) Fail(*tag, status, decided);
  }
}

void EncodeStreamReactor::HandleCancel(uint64_t id, Decided& decided) {
  ended_early_.erase(id);
  // A tag that has just ended is no mistake of the client's.
  if (const TagPtr tag = Find(id)) {
    tag->end_received = true;
    Fail(*tag, MakeError(ErrorReason::kCancelled, "the client cancelled this tag"), decided);
  }
}

void EncodeStreamReactor::HandleEnd(uint64_t id) {
  Decided decided;
  TagPtr tag;
  std::vector<SequenceTask> tasks;
  {
    MutexLock lock(&mutex_);
    if (!broken_.ok() || finished_) return;
    tag = Find(id);
    if (tag == nullptr) {
      HandleStray(id, "StreamEnd for a tag that is not open");
      if (const TagPtr stray = Find(id)) stray->end_received = true;
      ended_early_.erase(id);
    } else if (std::exchange(tag->end_received, true)) {
      Fail(*tag, Violation("a second StreamEnd"), decided);
    } else if (tag->phase() == StreamTag::Phase::kReceiving) {
      absl::StatusOr<std::vector<SequenceTask>> closed = tag->Close();
      if (closed.ok()) {
        tasks = *std::move(closed);
      } else {
        Fail(*tag, closed.status(), decided);
      }
    }
    Advance(decided);
  }
  Do(std::move(decided));
  if (!tasks.empty()) Submit(tag, std::move(tasks));
}

void EncodeStreamReactor::HandleStray(uint64_t id, const char* what) {
  if (ended_early_.count(id) > 0) return;
  AddFailed(id, Violation(what));
}

void EncodeStreamReactor::AddFailed(uint64_t id, absl::Status error) {
  const auto tag = std::make_shared<StreamTag>(id, core_, trace_);
  tag->Fail(std::move(error));
  tags_[id] = tag;
}

void EncodeStreamReactor::Submit(const TagPtr& tag, std::vector<SequenceTask> tasks) {
  for (size_t s = 0; s < tasks.size(); ++s) {
    tasks[s].model = tag->model();
    tasks[s].consumer = std::make_shared<Consumer>(shared_from_this(), tag, s);
  }
  absl::StatusOr<Scheduler::Ticket> ticket = scheduler_->Submit(std::move(tasks), tag->Terms());
  Decided decided;
  {
    MutexLock lock(&mutex_);
    if (ticket.ok()) {
      tag->ticket = *ticket;
      // What happened while the ticket was not known yet.
      if (!tag->error().ok()) decided.cancel.emplace_back(*ticket, tag->error());
      if (tag->ready_before_ticket) decided.ready.push_back(*ticket);
    } else {
      tag->NotSubmitted(ticket.status());
    }
    Advance(decided);
  }
  Do(std::move(decided));
}

}  // namespace longwave
