#include "server/rpc/encoder_service.h"

#include <memory>

#include "server/rpc/encode_format.h"
#include "server/rpc/encode_reactor.h"
#include "server/rpc/encode_stream_reactor.h"
#include "server/rpc/message_io.h"
#include "server/rpc/model_reactors.h"

namespace longwave {

grpc::ServerUnaryReactor* EncoderServiceImpl::Encode(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return EncodeReactor::Start(core_, std::make_unique<EncodeFormat>(), context, Releasable(request),
                              response);
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EncoderServiceImpl::EncodeStream(
    grpc::CallbackServerContext* context) {
  return EncodeStreamReactor::Start(core_, context);
}

grpc::ServerUnaryReactor* EncoderServiceImpl::EstimateEncode(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer* request,
                                                             grpc::ByteBuffer* response) {
  return AnswerEstimateEncode(core_, context, Releasable(request), response);
}

grpc::ServerUnaryReactor* EncoderServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* response) {
  return AnswerGetModel(core_, context, Releasable(request), response);
}

grpc::ServerUnaryReactor* EncoderServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  return AnswerListModels(core_, context, Releasable(request), response);
}

}  // namespace longwave
