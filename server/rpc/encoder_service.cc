#include "server/rpc/encoder_service.h"

#include <memory>

#include "server/rpc/encode_format.h"
#include "server/rpc/encode_reactor.h"
#include "server/rpc/encode_stream_reactor.h"
#include "server/rpc/model_reactors.h"

namespace longwave {
namespace {

// gRPC owns the request for as long as the call lives and declares it const to handlers, though
// the object is not. Letting go of the bytes once they are parsed halves what a waiting call holds.
grpc::ByteBuffer* Releasable(const grpc::ByteBuffer* request) {
  return const_cast<grpc::ByteBuffer*>(request);
}

}  // namespace

grpc::ServerUnaryReactor* EncoderServiceImpl::Encode(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* response) {
  return EncodeReactor::Start(core_, std::make_unique<EncodeFormat>(), context,
                              Releasable(request), response);
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
