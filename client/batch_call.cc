#include "client/batch_call.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/error_info.h"
#include "client/request_builder.h"

namespace longwave::client {

struct BatchCall::ModelCall {
  grpc::ClientContext context;
  v1::GetModelRequest request;
  v1::GetModelResponse response;
};

struct BatchCall::PartCall {
  RequestPart part;
  grpc::ClientContext context;
  v1::EncodeRequest request;
  v1::EncodeResponse response;
};

BatchCall::BatchCall(v1::EncoderService::Stub* stub, std::shared_ptr<ModelCache> models,
                     std::vector<TokenSequence> sequences, EncodeOptions options, Deadline deadline)
    : stub_(stub),
      models_(std::move(models)),
      sequences_(std::move(sequences)),
      options_(std::move(options)),
      deadline_(deadline),
      builder_(sequences_.size(), options_.keep_going) {}

BatchCall::~BatchCall() = default;

void BatchCall::Start(EncodeCallback done) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    done_ = std::move(done);
  }
  const auto model = models_->Find(options_.model, options_.model_version);
  if (model != nullptr) {
    Plan(*model);
    SendMore();
  } else {
    FetchModel();
  }
}

void BatchCall::FetchModel() {
  ModelCall* call = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    model_call_ = std::make_unique<ModelCall>();
    call = model_call_.get();
    if (!stopped_.ok()) call->context.TryCancel();
  }
  call->request.set_model(options_.model);
  call->request.set_model_version(options_.model_version);
  call->context.set_deadline(ToGrpcTime(deadline_));
  stub_->async()->GetModel(
      &call->context, &call->request, &call->response,
      [self = shared_from_this()](grpc::Status status) { self->OnModel(status); });
}

void BatchCall::OnModel(const grpc::Status& status) {
  std::unique_ptr<ModelCall> call;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    call = std::move(model_call_);
    if (!status.ok()) {
      planned_ = true;
      Stop(FromGrpcStatus(status));
    }
  }
  if (status.ok()) {
    const auto model =
        std::make_shared<const v1::Model>(std::move(*call->response.mutable_model()));
    models_->Put(options_.model, options_.model_version, model);
    Plan(*model);
  }
  call.reset();  // before anything may call `done_`
  SendMore();
}

void BatchCall::Plan(const v1::Model& model) {
  std::vector<uint32_t> lengths;
  lengths.reserve(sequences_.size());
  for (const TokenSequence ids : sequences_) lengths.push_back(static_cast<uint32_t>(ids.size()));
  absl::StatusOr<RequestPlan> plan = PlanRequests(lengths, options_, model);

  std::lock_guard<std::mutex> lock(mutex_);
  planned_ = true;
  fingerprint_ = model.fingerprint();
  if (!plan.ok()) Stop(plan.status());
  if (!stopped_.ok()) return;
  one_part_ = plan->parts.size() + plan->refused.size() == 1;
  waiting_.assign(plan->parts.begin(), plan->parts.end());
  for (RequestPlan::Refused& refused : plan->refused) {
    Fail({refused.sequence, 1}, std::move(refused.reason));
  }
}

void BatchCall::Cancel() {
  std::lock_guard<std::mutex> lock(mutex_);
  Stop(absl::CancelledError("the call was cancelled"));
}

void BatchCall::SendMore() {
  while (true) {
    PartCall* call = nullptr;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const size_t limit = options_.max_in_flight < 1 ? 1 : options_.max_in_flight;
      if (waiting_.empty() || in_flight_.size() >= limit) break;
      auto owned = std::make_unique<PartCall>();
      call = owned.get();
      call->part = waiting_.front();
      waiting_.pop_front();
      in_flight_.insert(std::move(owned));
    }
    // gRPC is called without the lock: nothing says that its callback never runs at once.
    Send(call);
  }
  FinishIfDone();
}

void BatchCall::Send(PartCall* call) {
  const auto sequences =
      absl::MakeConstSpan(sequences_).subspan(call->part.first, call->part.count);
  std::vector<uint32_t> lengths;
  lengths.reserve(sequences.size());
  for (const TokenSequence ids : sequences) lengths.push_back(static_cast<uint32_t>(ids.size()));
  call->request = MakeRequest(options_, lengths, call->part.first);
  PackedIds packed = PackIds(sequences);
  call->request.mutable_tokens()->set_ids(std::move(packed.bytes));
  call->request.mutable_tokens()->set_id_width(packed.width);
  if (!one_part_ && !options_.request_id.empty()) {
    call->request.set_request_id(absl::StrCat(options_.request_id, "/", call->part.first));
  }
  call->context.set_deadline(ToGrpcTime(deadline_));
  stub_->async()->Encode(
      &call->context, &call->request, &call->response,
      [self = shared_from_this(), call](grpc::Status status) { self->OnReply(call, status); });
}

void BatchCall::OnReply(PartCall* call, const grpc::Status& status) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto owner = std::find_if(in_flight_.begin(), in_flight_.end(),
                                    [call](const auto& entry) { return entry.get() == call; });
    absl::Status result = FromGrpcStatus(status);
    DistrustModel(*call, result);
    if (result.ok()) result = builder_.AddReply(call->part, std::move(call->response));
    if (!result.ok()) Fail(call->part, std::move(result));
    in_flight_.erase(owner);
  }
  SendMore();
}

void BatchCall::Fail(RequestPart part, absl::Status status) {
  if (!options_.keep_going) {
    // Which of a long list it was: field paths count from the part's first sequence.
    if (!one_part_) {
      absl::Status named(status.code(),
                         absl::StrCat("sequences ", part.first, " to ", part.first + part.count - 1,
                                      ": ", status.message()));
      status.ForEachPayload([&named](absl::string_view url, const absl::Cord& payload) {
        named.SetPayload(url, payload);
      });
      status = std::move(named);
    }
    Stop(std::move(status));
    return;
  }
  const bool input_refused = status.code() == absl::StatusCode::kInvalidArgument ||
                             status.code() == absl::StatusCode::kFailedPrecondition;
  if (input_refused && part.count > 1 && stopped_.ok()) {
    // One bad sequence refuses the whole request: by themselves, only the bad ones fail.
    for (uint32_t i = 0; i < part.count; ++i) waiting_.push_back({part.first + i, 1});
    return;
  }
  builder_.AddFailure(part, status);
}

void BatchCall::DistrustModel(const PartCall& call, const absl::Status& status) {
  // The server has been replaced by one with another model or smaller limits: ask again next time.
  const bool replaced = status.ok() ? call.response.execution().fingerprint() != fingerprint_
                                    : GetErrorInfo(status).reason == "REQUEST_TOO_LARGE";
  if (replaced) models_->Forget(options_.model, options_.model_version);
}

void BatchCall::Stop(absl::Status reason) {
  if (!stopped_.ok()) return;
  stopped_ = std::move(reason);
  if (model_call_ != nullptr) model_call_->context.TryCancel();
  for (const RequestPart part : waiting_) builder_.AddFailure(part, stopped_);
  waiting_.clear();
  for (const auto& call : in_flight_) call->context.TryCancel();
}

void BatchCall::FinishIfDone() {
  EncodeCallback done;
  absl::StatusOr<EncodeResult> result = absl::UnknownError("");
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!planned_ || !waiting_.empty() || !in_flight_.empty() || done_ == nullptr) return;
    done = std::exchange(done_, nullptr);
    if (!stopped_.ok()) {
      result = stopped_;
    } else {
      result = std::move(builder_).Build();
    }
  }
  done(std::move(result));
}

}  // namespace longwave::client
