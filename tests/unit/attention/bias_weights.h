#ifndef LONGWAVE_TESTS_UNIT_ATTENTION_BIAS_WEIGHTS_H_
#define LONGWAVE_TESTS_UNIT_ATTENTION_BIAS_WEIGHTS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "model/attention/relative_bias.h"
#include "model/attention/toeplitz_weights.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// A configuration of one layer with this bias.
inline ModelConfig BiasModel(const BiasConfig& bias, int64_t heads = 1, bool causal = false,
                             int64_t max_tokens = 4096) {
  ModelConfig config;
  config.num_layers = 1;
  config.num_heads = heads;
  config.head_dim = 8;
  config.max_tokens = max_tokens;
  config.attention.bias = bias;
  config.attention.causal = causal;
  return config;
}

// The tensor of a shared bias.
inline WeightMap BiasTensor(std::vector<int64_t> shape, std::vector<float> values) {
  WeightMap weights;
  weights["attention_bias"] = {std::move(shape), std::move(values)};
  return weights;
}

// Weights of one head for sequences up to n tokens from b(o), held as a table.
inline ToeplitzWeights TableWeights(int64_t n, bool causal,
                                    const std::function<double(int64_t)>& b) {
  std::vector<float> values;
  for (int64_t o = 1 - n; o < n; ++o) values.push_back(static_cast<float>(b(o)));
  const ModelConfig config = BiasModel(
      {.kind = BiasKind::kTable, .table_length = n, .beyond = BeyondTable::kRefuse}, 1, causal, n);
  const WeightMap weights = BiasTensor({1, 2 * n - 1}, std::move(values));
  return ToeplitzWeights(*RelativeBias::Create(config, weights, 0), causal, n);
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ATTENTION_BIAS_WEIGHTS_H_
