#include "server/rpc/encode_reactor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/rpc/caller.h"
#include "server/rpc/deadline.h"
#include "server/rpc/status_details.h"
#include "server/rpc/trace_parent.h"

namespace longwave {
namespace {

// Also for proxies and shells, which do not read messages.
constexpr char kQueueKey[] = "longwave-queue-ms";
constexpr char kTotalKey[] = "longwave-total-ms";

// How often the client has sent this call before; gRPC's clients say so when they retry.
int AttemptsBefore(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find("grpc-previous-rpc-attempts");
  int attempts = 0;
  if (found == metadata.end() ||
      !absl::SimpleAtoi(absl::string_view(found->second.data(), found->second.size()), &attempts)) {
    return 0;
  }
  return attempts;
}

std::string MillisecondText(Nanoseconds duration) {
  return absl::StrCat(ToSeconds(duration) * 1e3);
}

}  // namespace

grpc::ServerUnaryReactor* EncodeReactor::Start(ServiceCore* core,
                                               std::unique_ptr<UnaryFormat> format,
                                               grpc::CallbackServerContext* context,
                                               grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  auto reactor = std::make_shared<EncodeReactor>(core, std::move(format), context, response);
  if (!request->Valid()) reactor->guarded_.WasEmpty();
  reactor->self_ = reactor;
  reactor->Begin(request);
  return reactor.get();
}

EncodeReactor::EncodeReactor(ServiceCore* core, std::unique_ptr<UnaryFormat> format,
                             grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
    : core_(core),
      guarded_(&core->guard(), context),
      context_(context),
      response_(response),
      request_(std::make_shared<UnaryRequest>(core, std::move(format), TraceContextOf(*context))) {}

void EncodeReactor::Begin(grpc::ByteBuffer* request) {
  // The call does not end before it is told, so the reactor is there.
  const auto done = [this](UnaryRequest::Outcome outcome) { End(std::move(outcome)); };
  // First: who has no key learns nothing about the server.
  auto tenant = IdentifyCaller(core_->authenticator(), *context_);
  if (!tenant.ok()) {
    request_->Refuse(request, tenant.status(), done);
    return;
  }
  const Instant deadline =
      EffectiveDeadline(TimeLeft(context_->raw_deadline()),
                        FromSeconds(core_->options().max_deadline_seconds), core_->clock().Now());
  request_->Start(request,
                  {.tenant = *std::move(tenant),
                   .deadline = deadline,
                   .attempts_before = AttemptsBefore(*context_)},
                  done);
}

void EncodeReactor::End(UnaryRequest::Outcome outcome) {
  if (outcome.status.ok()) {
    Answer(std::move(outcome));
  } else {
    Refuse(outcome.status);
  }
}

void EncodeReactor::Answer(UnaryRequest::Outcome outcome) {
  response_->Swap(&outcome.reply);
  context_->AddTrailingMetadata(kQueueKey, MillisecondText(outcome.stages.queue));
  context_->AddTrailingMetadata(kTotalKey, MillisecondText(outcome.stages.total));
  BoundTheTaking();
  Finish(grpc::Status::OK);
}

void EncodeReactor::Refuse(const absl::Status& status) {
  const Tenant* tenant = request_->tenant();
  WireError error =
      ToWireError(status, NextJitter(), tenant == nullptr ? "" : absl::string_view(tenant->name));
  // Nothing was sent before: the reply is trailers only, so clients may still retry.
  if (error.pushback_ms.has_value()) {
    context_->AddTrailingMetadata(kPushbackKey, absl::StrCat(*error.pushback_ms));
  }
  Finish(std::move(error.status));
}

void EncodeReactor::BoundTheTaking() {
  // gRPC has no timer of its own for a caller who gave no deadline.
  const Instant patience = core_->clock().Now() + FromSeconds(core_->options().max_stall_seconds);
  MutexLock lock(&mutex_);
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(ToGrpcTime(std::max(request_->deadline(), patience)),
              [weak = weak_from_this()](bool rang) {
                if (!rang) return;
                if (const auto call = weak.lock()) call->GiveUp();
              });
}

void EncodeReactor::GiveUp() {
  // Under the lock, since without it the call could end, and the context with it.
  MutexLock lock(&mutex_);
  if (!done_) context_->TryCancel();
}

void EncodeReactor::OnCancel() {
  // gRPC cancels at the caller's deadline too. What was refused has Finish under way, and its
  // request takes no notice.
  request_->Cancel(CancelledByDeadline(request_->deadline(), core_->clock().Now())
                       ? MakeError(ErrorReason::kDeadlineExpired, "the deadline passed")
                       : MakeError(ErrorReason::kCancelled, "the caller cancelled"));
}

void EncodeReactor::OnDone() {
  const std::shared_ptr<EncodeReactor> self = std::move(self_);  // may be the last one
  MutexLock lock(&mutex_);
  done_ = true;
  alarm_.reset();
}

}  // namespace longwave
