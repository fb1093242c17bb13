#ifndef LONGWAVE_SERVER_RPC_ENCODE_FORMAT_H_
#define LONGWAVE_SERVER_RPC_ENCODE_FORMAT_H_

#include "longwave/v1/encode.pb.h"
#include "server/rpc/unary_format.h"

namespace longwave {

// longwave.v1's EncodeRequest and EncodeResponse.
class EncodeFormat final : public UnaryFormat {
 public:
  RpcMethod method() const override { return RpcMethod::kEncode; }
  absl::StatusOr<EncodeRequestData> Read(grpc::ByteBuffer* bytes, const EncoderInfo& info,
                                         const RequestLimits& limits) override;
  void Release() override;
  grpc::ByteBuffer Write(const UnaryReply& reply, absl::FunctionRef<StageTimes()> stamp) override;

 private:
  v1::EncodeRequest request_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_FORMAT_H_
