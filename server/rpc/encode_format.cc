#include "server/rpc/encode_format.h"

#include <array>
#include <string>

#include "server/rpc/message_io.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/request_decoder.h"

namespace longwave {

absl::StatusOr<EncodeRequestData> EncodeFormat::Read(grpc::ByteBuffer* bytes,
                                                     const EncoderInfo& /*info*/,
                                                     const RequestLimits& /*limits*/) {
  if (absl::Status status = ParseMessage(bytes, &request_); !status.ok()) return status;
  return ToRequestData(request_);
}

void EncodeFormat::Release() {
  v1::EncodeRequest().Swap(&request_);  // Clear would keep the memory of the ids
}

grpc::ByteBuffer EncodeFormat::Write(const UnaryReply& reply,
                                     absl::FunctionRef<StageTimes()> stamp) {
  v1::EncodeResponse response;
  response.set_model(reply.info.model);
  response.set_model_version(reply.info.version);
  response.set_request_id(std::string(reply.request_id));
  response.set_model_digest(reply.info.weights_digest);
  reply.rows.MoveTo(response.mutable_embeddings());
  for (const SequenceSummary& summary : reply.sequences) {
    *response.add_sequences() = ToSequenceInfo(summary);
  }
  *response.mutable_execution() = ToExecution(reply.info, reply.sequences);
  const grpc::Slice body = SerializeMessage(response);

  // The times end with the bytes above, so they follow as a message of their own: parsers merge
  // fields that come one after the other.
  v1::EncodeResponse times;
  *times.mutable_timings() = ToProtoTimings(stamp());
  const std::array<grpc::Slice, 2> slices = {body, SerializeMessage(times)};
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace longwave
