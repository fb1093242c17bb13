#include "server/rpc/model_reactors.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "longwave/v1/model.pb.h"
#include "model/base/error.h"
#include "server/admission/validator.h"
#include "server/observability/safe_text.h"
#include "server/rpc/deadline.h"
#include "server/rpc/immediate_call.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/request_decoder.h"
#include "server/rpc/sequence_work.h"
#include "server/rpc/unary_terms.h"

namespace longwave {
namespace {

v1::Limits MakeLimits(const RequestLimits& limits, const EncoderInfo& info) {
  v1::Limits proto;
  proto.set_max_sequences_per_request(static_cast<uint32_t>(limits.max_sequences));
  proto.set_max_tokens_per_request(static_cast<uint64_t>(limits.max_request_tokens));
  proto.set_max_unary_reply_bytes(static_cast<uint64_t>(limits.max_unary_reply_bytes));
  proto.set_max_receive_message_bytes(static_cast<uint64_t>(MaxReceiveBytes(info.max_tokens)));
  proto.set_max_chunk_bytes(static_cast<uint32_t>(kMaxChunkBytes));
  return proto;
}

v1::Model MakeModel(const EncoderInfo& info, v1::ModelState state, const RequestLimits& limits) {
  v1::Model model;
  model.set_name(info.model);
  model.set_version(info.version);
  model.set_state(state);
  model.set_dim(static_cast<uint32_t>(info.dim));
  model.set_layers(static_cast<uint32_t>(info.layers));
  model.set_vocab_size(static_cast<uint32_t>(info.vocab_size));
  model.set_max_tokens(static_cast<uint32_t>(info.max_tokens));
  for (const std::string& kind : info.input_kinds) model.add_input_kinds(kind);
  model.set_position_dims(static_cast<uint32_t>(info.position_dims));
  model.set_frame_dims(static_cast<uint32_t>(info.frame_dims));
  model.set_default_pooling(ToProtoPooling(info.default_pooling));
  model.set_default_normalize(info.default_normalize);
  for (const int64_t dim : info.truncate_dims) {
    model.add_truncate_dims(static_cast<uint32_t>(dim));
  }
  model.set_tokenizer_kind(info.tokenizer_kind);
  model.set_tokenizer_fingerprint(info.tokenizer_fingerprint);
  model.set_weights_digest(info.weights_digest);
  model.set_fingerprint(info.fingerprint);
  model.set_device(info.device);
  model.set_compute_dtype(info.compute_dtype);
  model.set_deterministic(info.deterministic);
  for (const Route route : info.routes) model.add_routes(ToProtoRoute(route));
  for (const RouteCertificate& certificate : info.certificates) {
    v1::RouteCertificate& sent = *model.add_certificates();
    sent.set_route(ToProtoRoute(certificate.route));
    sent.set_error_bound(certificate.error_bound);
  }
  model.set_max_slice_seconds(info.max_slice_seconds);
  *model.mutable_limits() = MakeLimits(limits, info);
  model.add_api_versions("longwave.v1");
  return model;
}

// Whether Encode would take it now. What no RPC would take was refused before.
absl::Status UnaryVerdict(const ValidatedRequest& request, const RequestLimits& limits,
                          absl::Status verdict) {
  const bool fits = UnaryReplyBytes(request) <= limits.max_unary_reply_bytes &&
                    request.total_tokens <= limits.max_request_tokens;
  return fits ? verdict : MakeError(ErrorReason::kRequestTooLarge, "EncodeStream would take it");
}

absl::StatusOr<v1::EstimateEncodeResponse> Estimate(const v1::EstimateEncodeRequest& request,
                                                    const ImmediateCall& call,
                                                    const ServiceCore& core) {
  const Backend& backend = call.backend;
  const RequestLimits& limits = core.options().limits;
  absl::StatusOr<ValidatedRequest> valid =
      ValidateStreamOpen(ToRequestData(request), backend.encoder(), limits);
  if (!valid.ok()) return valid.status();
  // The caller's deadline is for this call; of the one to come only the server's bound is known.
  const Instant deadline = EffectiveDeadline(
      std::nullopt, FromSeconds(core.options().max_deadline_seconds), core.clock().Now());
  const Forecast forecast = backend.scheduler->Foresee(*backend.model, WorkOf(*valid),
                                                       UnaryTerms(*valid, deadline, call.tenant));
  v1::EstimateEncodeResponse response;
  response.set_tokens(static_cast<uint64_t>(valid->total_tokens));
  response.set_predicted_seconds(forecast.seconds);
  response.set_expected_wait_seconds(forecast.wait_seconds);
  response.set_peak_bytes(static_cast<uint64_t>(forecast.peak_bytes));
  response.set_slices(static_cast<uint64_t>(forecast.slices));
  for (const Route route : forecast.routes) response.add_routes(ToProtoRoute(route));
  const absl::Status verdict = UnaryVerdict(*valid, limits, forecast.verdict);
  response.set_admissible(verdict.ok());
  if (!verdict.ok()) {
    response.set_reason(std::string(ErrorReasonName(GetErrorDetails(verdict).reason)));
  }
  return response;
}

// Every version that is known: the one in service, those whose last calls it has not taken over,
// and those that are not (yet) served, of which the name is all that is known.
std::vector<v1::Model> MakeModels(const Backend& backend, const ServiceCore& core) {
  const RequestLimits& limits = core.options().limits;
  const EncoderInfo& info = backend.encoder().Info();
  std::vector<v1::Model> models = {MakeModel(info, v1::MODEL_STATE_READY, limits)};
  for (const auto& draining : core.DrainingModels()) {
    if (draining == backend.model) continue;  // retired since this call began
    models.push_back(MakeModel(draining->encoder->Info(), v1::MODEL_STATE_DRAINING, limits));
  }
  for (const UnservedVersion& unserved : core.Unserved()) {
    v1::Model& model = models.emplace_back();
    model.set_name(info.model);
    model.set_version(unserved.version);
    model.set_state(unserved.failed ? v1::MODEL_STATE_FAILED : v1::MODEL_STATE_LOADING);
  }
  return models;
}

absl::Status UnknownModel(const std::string& name, const std::string& version,
                          const EncoderInfo& info) {
  const bool known_name = name.empty() || name == info.model;
  return MakeError({.reason = ErrorReason::kUnknownModel,
                    .field = known_name ? "model_version" : "model",
                    .value = SafeText(known_name ? version : name),
                    .limit = known_name ? info.version : info.model},
                   "this server does not have it");
}

absl::StatusOr<v1::GetModelResponse> GetModel(const v1::GetModelRequest& request,
                                              const Backend& backend, const ServiceCore& core) {
  for (v1::Model& model : MakeModels(backend, core)) {
    if (!request.model().empty() && request.model() != model.name()) continue;
    // The one in service is the first.
    if (!request.model_version().empty() && request.model_version() != model.version()) continue;
    v1::GetModelResponse response;
    *response.mutable_model() = std::move(model);
    return response;
  }
  return UnknownModel(request.model(), request.model_version(), backend.encoder().Info());
}

absl::StatusOr<v1::ListModelsResponse> ListModels(const v1::ListModelsRequest& request,
                                                  const Backend& backend, const ServiceCore& core) {
  if (!request.page_token().empty()) {
    return MakeError({.reason = ErrorReason::kInvalidField, .field = "page_token"},
                     "there is one page, so no token was given out");
  }
  v1::ListModelsResponse response;
  for (v1::Model& model : MakeModels(backend, core)) *response.add_models() = std::move(model);
  return response;
}

}  // namespace

grpc::ServerUnaryReactor* AnswerEstimateEncode(ServiceCore* core,
                                               grpc::CallbackServerContext* context,
                                               grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response) {
  return AnswerAtOnce<v1::EstimateEncodeRequest, v1::EstimateEncodeResponse>(
      RpcMethod::kEstimateEncode, Access::kServing, core, context, request, response,
      [core](const v1::EstimateEncodeRequest& message, const ImmediateCall& call) {
        return Estimate(message, call, *core);
      });
}

grpc::ServerUnaryReactor* AnswerGetModel(ServiceCore* core, grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return AnswerAtOnce<v1::GetModelRequest, v1::GetModelResponse>(
      RpcMethod::kGetModel, Access::kServing, core, context, request, response,
      [core](const v1::GetModelRequest& message, const ImmediateCall& call) {
        return GetModel(message, call.backend, *core);
      });
}

grpc::ServerUnaryReactor* AnswerListModels(ServiceCore* core, grpc::CallbackServerContext* context,
                                           grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  return AnswerAtOnce<v1::ListModelsRequest, v1::ListModelsResponse>(
      RpcMethod::kListModels, Access::kServing, core, context, request, response,
      [core](const v1::ListModelsRequest& message, const ImmediateCall& call) {
        return ListModels(message, call.backend, *core);
      });
}

}  // namespace longwave
