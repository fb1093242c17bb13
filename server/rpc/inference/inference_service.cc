#include "server/rpc/inference/inference_service.h"

#include <memory>

#include "server/rpc/encode_reactor.h"
#include "server/rpc/immediate_call.h"
#include "server/rpc/inference/infer_format.h"
#include "server/rpc/inference/infer_stream_reactor.h"
#include "server/rpc/inference/inference_queries.h"

namespace longwave {

grpc::ServerUnaryReactor* InferenceServiceImpl::ServerLive(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ServerLiveRequest, inference::ServerLiveResponse>(
      RpcMethod::kInferenceProbe, Access::kAnyone, core_, context, Releasable(request), response,
      [](const inference::ServerLiveRequest&, const ImmediateCall&) {
        inference::ServerLiveResponse live;
        live.set_live(true);
        return live;
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ServerReady(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ServerReadyRequest, inference::ServerReadyResponse>(
      RpcMethod::kInferenceProbe, Access::kAnyone, core_, context, Releasable(request), response,
      [this](const inference::ServerReadyRequest&, const ImmediateCall&) {
        inference::ServerReadyResponse ready;
        ready.set_ready(core_->Ready().has_value());
        return ready;
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ModelReady(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ModelReadyRequest, inference::ModelReadyResponse>(
      RpcMethod::kInferenceProbe, Access::kCallers, core_, context, Releasable(request), response,
      [this](const inference::ModelReadyRequest& message, const ImmediateCall&) {
        return DescribeReadiness(message, *core_);
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ServerMetadata(grpc::CallbackServerContext* context,
                                                               const grpc::ByteBuffer* request,
                                                               grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ServerMetadataRequest, inference::ServerMetadataResponse>(
      RpcMethod::kInferenceQuery, Access::kCallers, core_, context, Releasable(request), response,
      [this](const inference::ServerMetadataRequest&, const ImmediateCall&) {
        return DescribeServer(*core_);
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ModelMetadata(grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* request,
                                                              grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ModelMetadataRequest, inference::ModelMetadataResponse>(
      RpcMethod::kInferenceQuery, Access::kServing, core_, context, Releasable(request), response,
      [](const inference::ModelMetadataRequest& message, const ImmediateCall& call) {
        return DescribeModel(message, call.backend.encoder().Info());
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ModelInfer(grpc::CallbackServerContext* context,
                                                           const grpc::ByteBuffer* request,
                                                           grpc::ByteBuffer* response) {
  return EncodeReactor::Start(core_, std::make_unique<InferFormat>(RpcMethod::kModelInfer), context,
                              Releasable(request), response);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* InferenceServiceImpl::ModelStreamInfer(
    grpc::CallbackServerContext* context) {
  return InferStreamReactor::Start(core_, context);
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ModelConfig(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ModelConfigRequest, inference::ModelConfigResponse>(
      RpcMethod::kInferenceQuery, Access::kServing, core_, context, Releasable(request), response,
      [this](const inference::ModelConfigRequest& message, const ImmediateCall& call) {
        return DescribeConfig(message, call.backend.encoder().Info(), core_->options().limits);
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::ModelStatistics(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::ModelStatisticsRequest, inference::ModelStatisticsResponse>(
      RpcMethod::kInferenceQuery, Access::kServing, core_, context, Releasable(request), response,
      [this](const inference::ModelStatisticsRequest& message, const ImmediateCall& call) {
        return DescribeStatistics(message, call.backend.encoder().Info(), *core_);
      });
}

grpc::ServerUnaryReactor* InferenceServiceImpl::RepositoryIndex(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
    grpc::ByteBuffer* response) {
  return AnswerAtOnce<inference::RepositoryIndexRequest, inference::RepositoryIndexResponse>(
      RpcMethod::kInferenceQuery, Access::kServing, core_, context, Releasable(request), response,
      [this](const inference::RepositoryIndexRequest& message, const ImmediateCall& call) {
        return DescribeRepository(message, call.backend, *core_);
      });
}

}  // namespace longwave
