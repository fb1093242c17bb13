#ifndef LONGWAVE_SERVER_RPC_INFERENCE_TOKEN_TENSORS_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_TOKEN_TENSORS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "inference/inference_service.pb.h"
#include "server/admission/encode_request.h"

namespace longwave {

// The inputs of a request, by name.
inline constexpr char kInputIds[] = "input_ids";        // [batch, tokens], or [tokens]
inline constexpr char kInputLengths[] = "lengths";      // [batch, 1] or [batch]
inline constexpr char kInputMask[] = "attention_mask";  // as input_ids: 1 = a token, 0 = padding
inline constexpr char kInputSpans[] = "spans";          // [spans, 3]: sequence, begin, end

// What the tensors are held to before anything is made of them.
struct TokenTensorRules {
  int64_t vocab_size = 0;
  int64_t max_sequences = 0;
};

// Reads the inputs of `request` into `data`: ids, lengths, spans. Padding, which `lengths` or
// `attention_mask` tell, is left out, so that it is neither checked nor computed. The ids are
// copied to `store`, which outlives `data`. Errors name the input, and ids by row and column.
absl::Status ReadTokenTensors(const inference::ModelInferRequest& request,
                              const TokenTensorRules& rules, std::string* store,
                              EncodeRequestData* data);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_TOKEN_TENSORS_H_
