#include <cstddef>
#include <cstdint>

#include "model/api/fake_encoder.h"
#include "server/admission/validator.h"
#include "server/rpc/inference/infer_format.h"
#include "tests/fuzz/wire_input.h"

namespace longwave {
namespace {

// An error in the protocol's words is the same error.
void CheckTranslation(const InferFormat& format, const absl::Status& error) {
  if (format.Translate(error).code() != error.code()) std::abort();
}

}  // namespace
}  // namespace longwave

// The bytes of a ModelInferRequest as they come from the wire, up to what the scheduler would get.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const longwave::FakeEncoder encoder;
  const longwave::RequestLimits limits;
  grpc::ByteBuffer buffer = longwave::ToBuffer(data, size);
  longwave::InferFormat format(longwave::RpcMethod::kModelInfer);
  format.Peek(&buffer);
  if (buffer.Length() != size) std::abort();  // it only looks
  const auto request = format.Read(&buffer, encoder.Info(), limits);
  if (!request.ok()) {
    longwave::CheckTranslation(format, request.status());
    format.Release();
    return 0;
  }
  const auto valid = longwave::ValidateEncodeRequest(*request, encoder, limits);
  format.Release();
  if (valid.ok()) {
    longwave::CheckValid(*valid, encoder);
  } else {
    longwave::CheckTranslation(format, valid.status());
  }
  return 0;
}
