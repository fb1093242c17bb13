#ifndef LONGWAVE_SERVER_RPC_INFERENCE_INFER_OUTLINE_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_INFER_OUTLINE_H_

#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/status.h"

namespace longwave {

// What can be said of a ModelInferRequest before any of it is built in memory.
struct InferOutline {
  // Empty where they are too long to be anybody's.
  std::string id;
  std::string model_name;
  // REQUEST_TOO_LARGE: more inputs, outputs, parameters and values of their own than any request
  // has. Two bytes can be an input, and a hundred times as many when it is built.
  absl::Status status;
};

// Reads the outline and leaves the bytes as they are. Of bytes that are no message it says as much
// as it got to see.
InferOutline ReadInferOutline(grpc::ByteBuffer* bytes);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_INFER_OUTLINE_H_
