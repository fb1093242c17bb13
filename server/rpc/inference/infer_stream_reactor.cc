#include "server/rpc/inference/infer_stream_reactor.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "inference/inference_service.pb.h"
#include "model/base/error.h"
#include "server/observability/safe_text.h"
#include "server/rpc/caller.h"
#include "server/rpc/deadline.h"
#include "server/rpc/inference/infer_format.h"
#include "server/rpc/message_io.h"
#include "server/rpc/status_details.h"
#include "server/rpc/trace_parent.h"

namespace longwave {
namespace {

Instant CallDeadline(grpc::CallbackServerContext* context, Instant now) {
  const std::optional<Nanoseconds> left = TimeLeft(context->raw_deadline());
  return left.has_value() ? now + *left : kNever;
}

// The protocol has one string for an error: code and reason come first, for programs. When to come
// back is a parameter, as the times of good answers are.
grpc::ByteBuffer ErrorMessage(const absl::Status& error, const InferFormat& format) {
  inference::ModelStreamInferResponse message;
  message.set_error_message(
      SafeText(absl::StrCat(absl::StatusCodeToString(error.code()), " ",
                            ErrorReasonName(GetErrorDetails(error).reason), ": ", error.message()),
               /*max_bytes=*/1024));
  auto& response = *message.mutable_infer_response();
  response.set_id(format.id());
  response.set_model_name(format.model_name());
  const std::optional<int32_t> pushback = ToWireError(error, NextJitter()).pushback_ms;
  if (pushback.value_or(-1) >= 0) {
    (*response.mutable_parameters())["longwave_retry_after_ms"].set_int64_param(*pushback);
  }
  const grpc::Slice slice = SerializeMessage(message);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InferStreamReactor::Start(
    ServiceCore* core, grpc::CallbackServerContext* context) {
  auto reactor = std::make_shared<InferStreamReactor>(core, context);
  reactor->self_ = reactor;
  reactor->Begin();
  return reactor.get();
}

InferStreamReactor::InferStreamReactor(ServiceCore* core, grpc::CallbackServerContext* context)
    : core_(core),
      guarded_(&core->guard(), context),
      context_(context),
      trace_(TraceContextOf(*context)),
      call_deadline_(CallDeadline(context, core->clock().Now())),
      idle_since_(core->clock().Now()) {}

void InferStreamReactor::Begin() {
  core_->AddListener(weak_from_this());
  const auto caller = IdentifyCaller(core_->authenticator(), *context_);
  const absl::Status error = caller.ok() ? core_->Enter().status() : caller.status();
  Decided decided;
  {
    MutexLock lock(&mutex_);
    if (error.ok()) {
      Arm(idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds));
      decided.read = MayRead();
    } else {
      Break(error, decided);
    }
  }
  Do(std::move(decided));
}

void InferStreamReactor::OnReadDone(bool ok) {
  if (ok) {
    heard_ = true;
    Handle();
  } else if (!heard_ && context_->IsCancelled()) {
    guarded_.WasEmpty();
  }
  Decided decided;
  {
    MutexLock lock(&mutex_);
    reading_ = false;
    half_closed_ = half_closed_ || !ok;
    Advance(decided);
    decided.read = MayRead();
  }
  Do(std::move(decided));
}

void InferStreamReactor::Handle() {
  auto request = std::make_shared<UnaryRequest>(
      core_, std::make_unique<InferFormat>(RpcMethod::kModelStreamInfer), trace_);
  uint64_t number = 0;
  absl::Status broken;
  {
    MutexLock lock(&mutex_);
    number = next_number_++;
    open_[number] = request;
    broken = broken_;
  }
  const auto done = [stream = shared_from_this(), number](UnaryRequest::Outcome outcome) {
    stream->RequestEnded(number, std::move(outcome));
  };
  // A key that was withdrawn begins nothing more.
  auto tenant = IdentifyCaller(core_->authenticator(), *context_);
  if (!tenant.ok() || !broken.ok()) {
    request->Refuse(&in_, tenant.ok() ? broken : tenant.status(), done);
    return;
  }
  request->Start(&in_, {.tenant = *std::move(tenant), .deadline = call_deadline_}, done);
}

void InferStreamReactor::RequestEnded(uint64_t number, UnaryRequest::Outcome outcome) {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    const auto found = open_.find(number);
    RequestPtr request = std::move(found->second);
    open_.erase(found);
    if (broken_.ok() && outcome.status.ok()) {
      answers_.push_back({std::move(outcome.reply), std::move(request)});
    } else if (broken_.ok()) {
      const auto& format = static_cast<const InferFormat&>(request->format());
      answers_.push_back({ErrorMessage(outcome.status, format), nullptr});
    }
    Advance(decided);
  }
  Do(std::move(decided));
}

void InferStreamReactor::OnWriteDone(bool ok) {
  Decided decided;
  std::optional<Answer> written;  // its memory is freed without the lock
  {
    MutexLock lock(&mutex_);
    written.swap(writing_);
    if (Idle()) {
      idle_since_ = core_->clock().Now();
      Arm(idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds));
    }
    if (!ok) Break(MakeError(ErrorReason::kCancelled, "the client left"), decided);
    Advance(decided);
    // While answers wait something is being written, so this comes; and in here, unlike on the
    // executor's thread, the call cannot end before the read begins.
    decided.read = MayRead();
  }
  Do(std::move(decided));
}

void InferStreamReactor::OnCancel() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    // gRPC cancels at the caller's deadline too.
    Break(CancelledByDeadline(call_deadline_, core_->clock().Now())
              ? MakeError(ErrorReason::kDeadlineExpired, "the deadline passed")
              : MakeError(ErrorReason::kCancelled, "the client left"),
          decided);
  }
  Do(std::move(decided));
}

void InferStreamReactor::OnDone() {
  const std::shared_ptr<InferStreamReactor> self = std::move(self_);  // may be the last one
  MutexLock lock(&mutex_);
  alarm_.reset();
}

void InferStreamReactor::OnDrain() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    draining_ = true;
    Advance(decided);
  }
  Do(std::move(decided));
}

void InferStreamReactor::OnAbort() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    CancelAll(MakeError(ErrorReason::kDraining, "the server is shutting down"), decided);
    Advance(decided);
  }
  Do(std::move(decided));
}

bool InferStreamReactor::Idle() const {
  return open_.empty() && answers_.empty() && !writing_.has_value();
}

void InferStreamReactor::CancelAll(const absl::Status& reason, Decided& decided) {
  decided.reason = reason;
  for (const auto& [number, request] : open_) decided.cancel.push_back(request);
}

void InferStreamReactor::Break(const absl::Status& error, Decided& decided) {
  if (broken_.ok()) {
    broken_ = error;
    answers_.clear();  // nobody listens
    CancelAll(error, decided);
  }
  Advance(decided);
}

void InferStreamReactor::Advance(Decided& decided) {
  if (finished_) return;
  if (!writing_.has_value() && !answers_.empty()) {
    writing_ = std::move(answers_.front());
    answers_.pop_front();
    write_started_ = core_->clock().Now();
    Arm(write_started_ + FromSeconds(core_->options().max_stall_seconds));
    decided.write = &writing_->bytes;
  }
  // Nothing is written any more, and no request is left that would have something to say.
  if (Idle() && (!broken_.ok() || half_closed_ || draining_)) {
    finished_ = true;
    if (broken_.ok() && half_closed_) {
      decided.finish = grpc::Status::OK;
    } else {
      const absl::Status error =
          broken_.ok() ? MakeError(ErrorReason::kDraining, "the server is shutting down") : broken_;
      decided.finish = ToWireError(error, NextJitter()).status;
    }
  }
}

bool InferStreamReactor::MayRead() {
  const size_t held = open_.size() + answers_.size() + (writing_.has_value() ? 1 : 0);
  if (reading_ || half_closed_ || draining_ || finished_ || !broken_.ok() ||
      held >= static_cast<size_t>(core_->options().max_stream_tags)) {
    return false;
  }
  reading_ = true;
  return true;
}

void InferStreamReactor::Do(Decided decided) {
  if (decided.write != nullptr) StartWrite(decided.write);
  if (decided.read) StartRead(&in_);
  for (const RequestPtr& request : decided.cancel) request->Cancel(decided.reason);
  if (decided.finish.has_value()) Finish(*std::move(decided.finish));
}

void InferStreamReactor::Arm(Instant when) {
  if (finished_ || when >= armed_for_) return;
  armed_for_ = when;
  // A new alarm each time: one that is ringing cannot be set again. The old one is cancelled.
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(ToGrpcTime(when), [weak = weak_from_this()](bool rang) {
    if (!rang) return;
    if (const auto stream = weak.lock()) stream->OnTimer();
  });
}

void InferStreamReactor::OnTimer() {
  Decided decided;
  {
    MutexLock lock(&mutex_);
    armed_for_ = kNever;
    if (finished_) return;
    const Instant now = core_->clock().Now();
    Instant next = kNever;
    if (writing_.has_value()) {
      const Instant stalled = write_started_ + FromSeconds(core_->options().max_stall_seconds);
      if (now >= stalled) {
        Break(MakeError(ErrorReason::kSlowReader, "the client takes no messages"), decided);
        // The write that is stuck ends by this alone. Here, since without the lock the call could
        // end, and the context with it.
        context_->TryCancel();
      } else {
        next = stalled;
      }
    } else if (Idle()) {
      const Instant end = idle_since_ + FromSeconds(core_->options().max_stream_deadline_seconds);
      if (now >= end) {
        Break(MakeError(ErrorReason::kDeadlineExpired, "the stream was idle for too long"),
              decided);
      } else {
        next = end;
      }
    }
    if (next != kNever) Arm(next);
  }
  Do(std::move(decided));
}

}  // namespace longwave
