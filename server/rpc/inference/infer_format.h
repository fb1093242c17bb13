#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INFER_FORMAT_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INFER_FORMAT_H_

#include <string>

#include "inference/inference_service.pb.h"
#include "server/rpc/inference/infer_outline.h"
#include "server/rpc/unary_format.h"

namespace longwave {

// The outputs of a request, by name.
inline constexpr char kOutputEmbeddings[] = "embeddings";  // [rows, dim]
inline constexpr char kOutputRows[] = "rows";              // [batch, 1], rows of each sequence
inline constexpr char kOutputScales[] = "scales";          // [rows, 1], with dtype int8

// The Open Inference Protocol's ModelInferRequest and ModelInferResponse, alone or as a message of
// a stream, whose answer is wrapped once more.
class InferFormat final : public UnaryFormat {
 public:
  explicit InferFormat(RpcMethod method) : method_(method) {}

  RpcMethod method() const override { return method_; }
  void Peek(grpc::ByteBuffer* bytes) override { outline_ = ReadInferOutline(bytes); }
  absl::StatusOr<EncodeRequestData> Read(grpc::ByteBuffer* bytes, const EncoderInfo& info,
                                         const RequestLimits& limits) override;
  void Release() override;
  grpc::ByteBuffer Write(const UnaryReply& reply, absl::FunctionRef<StageTimes()> stamp) override;
  absl::Status Translate(const absl::Status& error) const override;

  // Of the request, once it was looked at.
  const std::string& id() const { return outline_.id; }
  const std::string& model_name() const { return outline_.model_name; }

 private:
  struct Wanted {
    bool embeddings = false;
    bool rows = false;
    bool scales = false;
  };

  bool IsFor(const EncoderInfo& info) const;
  absl::Status ReadOutputs();
  void AddOutputs(const UnaryReply& reply, inference::ModelInferResponse* response) const;

  const RpcMethod method_;
  inference::ModelInferRequest request_;
  InferOutline outline_;
  std::string ids_;
  std::string lengths_input_;  // the one that told how long the sequences are
  bool says_final_ = false;    // the client wants to be told that nothing follows
  Wanted wanted_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INFER_FORMAT_H_
