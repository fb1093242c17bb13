#ifndef LONGWAVE_SERVER_RPC_MODEL_REACTORS_H_
#define LONGWAVE_SERVER_RPC_MODEL_REACTORS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "server/rpc/service_core.h"

namespace longwave {

// The calls that compute nothing: answered at once, on the thread that brought them.
grpc::ServerUnaryReactor* AnswerEstimateEncode(ServiceCore* core,
                                               grpc::CallbackServerContext* context,
                                               grpc::ByteBuffer* request,
                                               grpc::ByteBuffer* response);
grpc::ServerUnaryReactor* AnswerGetModel(ServiceCore* core, grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* request, grpc::ByteBuffer* response);
grpc::ServerUnaryReactor* AnswerListModels(ServiceCore* core, grpc::CallbackServerContext* context,
                                           grpc::ByteBuffer* request, grpc::ByteBuffer* response);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MODEL_REACTORS_H_
