#ifndef LONGWAVE_TESTS_UNIT_ENCODER_RANDOM_MODEL_H_
#define LONGWAVE_TESTS_UNIT_ENCODER_RANDOM_MODEL_H_

#include <cstdint>
#include <vector>

#include "model/api/encoder.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// 1 layer, 64 wide, one head: the smallest model whose tiles have the shapes of a real one.
ModelConfig OneLayerConfig();
// 3 layers, 48 wide, 3 heads: sizes that are no power of two.
ModelConfig SmallConfig();

// A model of this config with seeded random weights, scaled so that rows stay of order one through
// the layers, and no goldens.
ModelFolder RandomModel(const ModelConfig& config, uint32_t seed);

// Seeded tokens.
std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, uint32_t seed);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ENCODER_RANDOM_MODEL_H_
