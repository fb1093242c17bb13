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
#include "tests/fuzz/wire_input.h"

namespace longwave {
namespace {

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
      const auto context = longwave::ParseTraceParent(
          absl::string_view(reinterpret_cast<const char*>(data) + 1, size - 1));
      if (context.has_value() &&
          (context->trace_id.size() != 32 || context->parent_span_id.size() != 16)) {
        std::abort();
      }
      break;
    }
    default:
      longwave::Unary(data + 1, size - 1, encoder);
  }
  return 0;
}
