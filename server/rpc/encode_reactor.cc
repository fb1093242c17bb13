#include "server/rpc/encode_reactor.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/error.h"
#include "server/admission/validator.h"
#include "server/rpc/caller.h"
#include "server/rpc/deadline.h"
#include "server/rpc/message_io.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/request_decoder.h"
#include "server/rpc/sequence_work.h"
#include "server/rpc/status_details.h"
#include "server/rpc/trace_parent.h"
#include "server/rpc/unary_terms.h"

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

// The same refusal for a caller that has been refused before, perhaps by this port: clients that do
// not watch health choose among replicas by turns, and after four attempts they give up. So the
// next one is to come when this port is closed, however short the jitter makes its wait.
absl::Status PutOff(const absl::Status& refusal) {
  ErrorDetails details = GetErrorDetails(refusal);
  if (details.reason != ErrorReason::kDraining) return refusal;
  details.retry_after = kLongestUnrest * 5 / 4;
  return MakeError(details, refusal.message());
}

std::string MillisecondText(Nanoseconds duration) {
  return absl::StrCat(ToSeconds(duration) * 1e3);
}

}  // namespace

// Packs the rows of one sequence into its part of the reply.
class EncodeReactor::Consumer final : public SequenceConsumer {
 public:
  Consumer(std::shared_ptr<EncodeReactor> call, size_t sequence, int64_t first_row)
      : call_(std::move(call)), sequence_(sequence), first_row_(first_row) {}

  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    call_->rows_->Put(first_row_ + first_row, rows);
    return RowSink::Answer::kTaken;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    // The scheduler may keep the consumer for a while; the call must not wait for that.
    std::shared_ptr<EncodeReactor> call = std::move(call_);
    call->SequenceEnded(sequence_, std::move(result), times);
  }

 private:
  std::shared_ptr<EncodeReactor> call_;
  const size_t sequence_;
  const int64_t first_row_;
};

grpc::ServerUnaryReactor* EncodeReactor::Start(ServiceCore* core,
                                               grpc::CallbackServerContext* context,
                                               grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  auto reactor = std::make_shared<EncodeReactor>(core, context, response);
  if (!request->Valid()) reactor->guarded_.WasEmpty();
  reactor->self_ = reactor;
  if (absl::Status status = reactor->Admit(request); !status.ok()) reactor->Refuse(status);
  return reactor.get();
}

EncodeReactor::EncodeReactor(ServiceCore* core, grpc::CallbackServerContext* context,
                             grpc::ByteBuffer* response)
    : core_(core),
      guarded_(&core->guard(), context),
      context_(context),
      response_(response),
      recorder_(RpcMethod::kEncode, core, TraceIdOf(*context)) {}

absl::Status EncodeReactor::Identify() {
  auto tenant = IdentifyCaller(core_->authenticator(), *context_);
  if (!tenant.ok()) return tenant.status();
  tenant_ = *std::move(tenant);
  MutexLock lock(&mutex_);
  recorder_.SetTenant(tenant_.get());
  return absl::OkStatus();
}

absl::Status EncodeReactor::Admit(grpc::ByteBuffer* request) {
  // First: who has no key learns nothing about the server.
  if (absl::Status status = Identify(); !status.ok()) return status;
  const int attempts_before = AttemptsBefore(*context_);
  if (attempts_before > 0 && core_->metrics() != nullptr) {
    core_->metrics()->Retried(attempts_before);
  }
  absl::StatusOr<Backend> backend = core_->Enter();
  if (!backend.ok()) return attempts_before > 0 ? PutOff(backend.status()) : backend.status();
  backend_ = *backend;

  deadline_ =
      EffectiveDeadline(TimeLeft(context_->raw_deadline()),
                        FromSeconds(core_->options().max_deadline_seconds), core_->clock().Now());
  if (deadline_ <= core_->clock().Now()) {
    return MakeError(ErrorReason::kDeadlineExpired, "the deadline had passed on arrival");
  }
  v1::EncodeRequest message;
  if (absl::Status status = ParseMessage(request, &message); !status.ok()) return status;
  {
    MutexLock lock(&mutex_);
    recorder_.trace().decoded = recorder_.Now();
  }
  absl::Status claim = CheckTenantField(core_->authenticator(), tenant_.get(), message.tenant());
  if (!claim.ok()) return claim;
  absl::StatusOr<ValidatedRequest> valid =
      ValidateEncodeRequest(ToRequestData(message), backend_.encoder(), core_->options().limits,
                            [this](const ValidatedRequest& request) { return Foresee(request); });
  if (!valid.ok()) return valid.status();
  message.Clear();  // the ids are in `valid` now
  Prepare(*valid);
  return Submit(*std::move(valid));
}

RequestTerms EncodeReactor::Terms(const ValidatedRequest& request) const {
  RequestTerms terms = UnaryTerms(request, deadline_, tenant_);
  terms.reply = reply_memory_;
  return terms;
}

absl::Status EncodeReactor::Foresee(const ValidatedRequest& request) {
  // What is refused now has no ids copied and no reply allocated; its record says what it was.
  absl::Status verdict =
      backend_.scheduler->Foresee(*backend_.model, WorkOf(request), Terms(request)).verdict;
  if (verdict.ok()) return verdict;
  Describe(request);
  return verdict;
}

void EncodeReactor::Prepare(const ValidatedRequest& request) {
  request_id_ = request.request_id;
  rows_.emplace(request.dtype, request.total_rows, request.row_dim);
  Describe(request);
  MutexLock lock(&mutex_);
  unfinished_ = request.sequences.size();
}

void EncodeReactor::Describe(const ValidatedRequest& request) {
  for (const ValidatedSequence& sequence : request.sequences) {
    summaries_.push_back({.tokens_in = sequence.tokens_in,
                          .tokens_used = sequence.tokens_used,
                          .truncated = sequence.truncated,
                          .rows = sequence.output.RowCount(sequence.tokens_used)});
  }
  MutexLock lock(&mutex_);
  recorder_.Describe(request, summaries_);
}

absl::Status EncodeReactor::Submit(ValidatedRequest request) {
  const RequestTerms terms = Terms(request);
  std::vector<SequenceTask> tasks;
  tasks.reserve(request.sequences.size());
  int64_t first_row = 0;
  for (size_t s = 0; s < request.sequences.size(); ++s) {
    ValidatedSequence& sequence = request.sequences[s];
    tasks.push_back({.model = backend_.model,
                     .token_ids = std::move(sequence.token_ids),
                     .output = std::move(sequence.output),
                     .route = request.route,
                     .consumer = std::make_shared<Consumer>(self_, s, first_row)});
    first_row += summaries_[s].rows;
  }
  {
    // Before the hand-over, since the first sequence may be popped before Submit returns.
    MutexLock lock(&mutex_);
    recorder_.Admitted(recorder_.Now());
  }
  absl::StatusOr<Scheduler::Ticket> ticket = backend_.scheduler->Submit(std::move(tasks), terms);
  absl::Status error;
  {
    MutexLock lock(&mutex_);
    if (!ticket.ok()) {
      recorder_.NotAdmitted();
      return ticket.status();
    }
    ticket_ = *ticket;
    error = error_;
  }
  // A sequence that failed in between could not cancel its mates.
  if (!error.ok()) backend_.scheduler->Cancel(*ticket, error);
  return absl::OkStatus();
}

void EncodeReactor::SequenceEnded(size_t sequence, absl::StatusOr<SequenceReport> result,
                                  const SequenceTimes& times) {
  SequenceSummary& summary = summaries_[sequence];
  summary.times = times;
  std::optional<Scheduler::Ticket> doomed;
  absl::Status error;
  bool last = false;
  {
    MutexLock lock(&mutex_);
    if (result.ok()) {
      summary.report = *result;
      recorder_.MergeSequence(summary);
    } else if (error_.ok()) {
      error_ = std::move(result).status();
      error = error_;
      doomed = ticket_;
    }
    last = --unfinished_ == 0;
  }
  if (last) {
    Reply();
  } else if (doomed.has_value()) {
    // A unary reply has all sequences or none: the others are not wanted any more.
    backend_.scheduler->Cancel(*doomed, error);
  }
}

void EncodeReactor::Reply() {
  absl::Status error;
  {
    MutexLock lock(&mutex_);
    error = error_;
  }
  if (!error.ok()) {
    Refuse(error);
    return;
  }
  // While others wait, the thread that computed the rows has better to do. A call that is alone
  // would only wait for one more thread to wake.
  if (core_->open_requests() > 1) {
    core_->replies().Post([call = shared_from_this()] { call->Answer(); });
  } else {
    Answer();
  }
}

void EncodeReactor::Answer() {
  WriteResponse();
  BoundTheTaking();
  Finish(grpc::Status::OK);
}

void EncodeReactor::BoundTheTaking() {
  // gRPC has no timer of its own for a caller who gave no deadline.
  const Instant patience = core_->clock().Now() + FromSeconds(core_->options().max_stall_seconds);
  MutexLock lock(&mutex_);
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(ToGrpcTime(std::max(deadline_, patience)), [weak = weak_from_this()](bool rang) {
    if (!rang) return;
    if (const auto call = weak.lock()) call->GiveUp();
  });
}

void EncodeReactor::GiveUp() {
  // Under the lock, since without it the call could end, and the context with it.
  MutexLock lock(&mutex_);
  if (!done_) context_->TryCancel();
}

void EncodeReactor::WriteResponse() {
  const EncoderInfo& info = backend_.encoder().Info();
  v1::EncodeResponse response;
  response.set_model(info.model);
  response.set_model_version(info.version);
  response.set_request_id(request_id_);
  response.set_model_digest(info.weights_digest);
  rows_->MoveTo(response.mutable_embeddings());
  for (const SequenceSummary& summary : summaries_) {
    *response.add_sequences() = ToSequenceInfo(summary);
  }
  *response.mutable_execution() = ToExecution(info, summaries_);
  const grpc::Slice body = SerializeMessage(response);

  // The times end with the bytes above, so they follow as a message of their own: parsers merge
  // fields that come one after the other.
  StageTimes stages;
  {
    MutexLock lock(&mutex_);
    recorder_.trace().serialised = recorder_.Now();
    stages = recorder_.Finish();
    recorder_.End(absl::OkStatus());
  }
  v1::EncodeResponse times;
  *times.mutable_timings() = ToProtoTimings(stages);
  const std::array<grpc::Slice, 2> slices = {body, SerializeMessage(times)};
  grpc::ByteBuffer bytes(slices.data(), slices.size());
  response_->Swap(&bytes);
  context_->AddTrailingMetadata(kQueueKey, MillisecondText(stages.queue));
  context_->AddTrailingMetadata(kTotalKey, MillisecondText(stages.total));
}

void EncodeReactor::Refuse(const absl::Status& status) {
  {
    MutexLock lock(&mutex_);
    recorder_.End(status);
  }
  WireError error =
      ToWireError(status, NextJitter(), tenant_ == nullptr ? "" : absl::string_view(tenant_->name));
  // Nothing was sent before: the reply is trailers only, so clients may still retry.
  if (error.pushback_ms.has_value()) {
    context_->AddTrailingMetadata(kPushbackKey, absl::StrCat(*error.pushback_ms));
  }
  Finish(std::move(error.status));
}

void EncodeReactor::OnCancel() {
  std::optional<Scheduler::Ticket> ticket;
  {
    MutexLock lock(&mutex_);
    ticket = ticket_;
  }
  if (!ticket.has_value()) return;  // refused: Finish is under way
  // gRPC cancels at the caller's deadline too.
  backend_.scheduler->Cancel(*ticket,
                             CancelledByDeadline(deadline_, core_->clock().Now())
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
