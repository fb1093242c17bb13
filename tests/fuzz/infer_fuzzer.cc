#include <cstddef>
#include <cstdint>

#include "model/api/fake_encoder.h"
#include "server/admission/validator.h"
#include "server/rpc/inference/infer_format.h"
#include "tests/fuzz/wire_input.h"

// The bytes of a ModelInferRequest as they come from the wire, up to what the scheduler would get.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const longwave::FakeEncoder encoder;
  grpc::ByteBuffer buffer = longwave::ToBuffer(data, size);
  longwave::InferFormat format(longwave::RpcMethod::kModelInfer);
  const auto request = format.Read(&buffer, encoder.Info());
  if (!request.ok()) return 0;
  const auto valid = longwave::ValidateEncodeRequest(*request, encoder, {});
  if (valid.ok()) {
    longwave::CheckValid(*valid, encoder);
  } else if (format.Translate(valid.status()).code() != valid.status().code()) {
    std::abort();
  }
  return 0;
}
