#include <grpcpp/support/byte_buffer.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "longwave/v1/encode.pb.h"
#include "longwave/v1/model.pb.h"
#include "model/api/fake_encoder.h"
#include "server/admission/validator.h"
#include "server/rpc/message_io.h"
#include "server/rpc/request_decoder.h"
#include "server/rpc/trace_parent.h"

namespace longwave {
namespace {

grpc::ByteBuffer ToBuffer(const uint8_t* data, size_t size) {
  // In two slices, as bytes from a wire may come.
  const grpc::Slice slices[] = {grpc::Slice(data, size / 2),
                                grpc::Slice(data + size / 2, size - size / 2)};
  return grpc::ByteBuffer(slices, 2);
}

// What validation promises to the scheduler and to the packing of rows.
void CheckValid(const ValidatedRequest& request, const Encoder& encoder) {
  int64_t rows = 0;
  int64_t tokens = 0;
  if (request.sequences.empty()) std::abort();
  for (const ValidatedSequence& sequence : request.sequences) {
    const auto used = static_cast<int64_t>(sequence.token_ids.size());
    if (used != sequence.tokens_used || used < 1 || used > encoder.Info().max_tokens) std::abort();
    if (sequence.first_kept < 0 || sequence.first_kept + used > sequence.tokens_in) std::abort();
    for (const int32_t id : sequence.token_ids) {
      if (id < 0 || id >= encoder.Info().vocab_size) std::abort();
    }
    rows += sequence.output.RowCount(used);
    tokens += used;
  }
  if (rows != request.total_rows || tokens != request.total_tokens) std::abort();
}

void Unary(const uint8_t* data, size_t size, const Encoder& encoder) {
  grpc::ByteBuffer buffer = ToBuffer(data, size);
  v1::EncodeRequest message;
  if (!ParseMessage(&buffer, &message).ok()) return;
  RequestLimits limits;
  limits.allow_route_override = size % 2 == 0;
  const auto valid = ValidateEncodeRequest(ToRequestData(message), encoder, limits);
  if (valid.ok()) CheckValid(*valid, encoder);
}

void Estimate(const uint8_t* data, size_t size, const Encoder& encoder) {
  grpc::ByteBuffer buffer = ToBuffer(data, size);
  v1::EstimateEncodeRequest message;
  if (!ParseMessage(&buffer, &message).ok()) return;
  ValidateStreamOpen(ToRequestData(message), encoder, {}).status().IgnoreError();
}

}  // namespace
}  // namespace longwave

// A request's bytes as they come from the wire, up to what the scheduler would get. The first byte
// picks the message.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const longwave::FakeEncoder encoder;
  if (size == 0) return 0;
  switch (data[0] % 4) {
    case 0:
      longwave::Estimate(data + 1, size - 1, encoder);
      break;
    case 1: {
      const std::string id = longwave::ParseTraceParent(
          absl::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
      if (!id.empty() && id.size() != 32) std::abort();
      break;
    }
    default:
      longwave::Unary(data + 1, size - 1, encoder);
  }
  return 0;
}
