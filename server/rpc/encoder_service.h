#ifndef LONGWAVE_SERVER_RPC_ENCODER_SERVICE_H_
#define LONGWAVE_SERVER_RPC_ENCODER_SERVICE_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include "longwave/v1/encoder_service.grpc.pb.h"
#include "server/rpc/service_core.h"

namespace longwave {

// longwave.v1.EncoderService with every method raw: requests are parsed by us (message_io.h).
class EncoderServiceImpl final
    : public v1::EncoderService::WithRawCallbackMethod_Encode<
          v1::EncoderService::WithRawCallbackMethod_EncodeStream<
              v1::EncoderService::WithRawCallbackMethod_EstimateEncode<
                  v1::EncoderService::WithRawCallbackMethod_GetModel<
                      v1::EncoderService::WithRawCallbackMethod_ListModels<
                          v1::EncoderService::Service>>>>> {
 public:
  // `core` outlives the service.
  explicit EncoderServiceImpl(ServiceCore* core) : core_(core) {}

  grpc::ServerUnaryReactor* Encode(grpc::CallbackServerContext* context,
                                   const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* EncodeStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* EstimateEncode(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override;

 private:
  ServiceCore* const core_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODER_SERVICE_H_
