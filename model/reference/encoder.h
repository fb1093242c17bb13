#ifndef LONGWAVE_MODEL_REFERENCE_ENCODER_H_
#define LONGWAVE_MODEL_REFERENCE_ENCODER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/reference/output.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// The states of layers 0 (the embeddings) to num_layers (after the final norm, if there is one) of
// one sequence, in double, in O(n^2). INTERNAL DEGENERATE_DENOMINATOR if a signed feature map's
// terms cancel in a row. Preconditions: the weights fit the config, 1 <= n <= max_tokens, ids
// within the vocabulary.
absl::StatusOr<std::vector<HiddenStates>> ReferenceHiddenStates(const ModelConfig& config,
                                                                const WeightMap& weights,
                                                                absl::Span<const int32_t> ids);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_REFERENCE_ENCODER_H_
