#include "tests/unit/encoder/random_model.h"

#include <cmath>
#include <random>

#include "absl/strings/match.h"
#include "model/weights/weight_table.h"

namespace longwave {
namespace {

struct Distribution {
  double mean = 0;
  double deviation = 1;
};

Distribution DistributionOf(const ExpectedWeight& weight) {
  const bool norm = absl::StrContains(weight.name, "norm");
  if (norm && absl::EndsWith(weight.name, ".weight")) return {1, 0.1};
  if (absl::EndsWith(weight.name, "attention.projection")) return {0, 1};
  if (absl::EndsWith(weight.name, "attention_bias")) return {0, 0.5};
  if (absl::EndsWith(weight.name, "attention.bias")) return {0, 0.5};
  if (absl::EndsWith(weight.name, ".bias")) return {0, 0.1};
  const bool is_table = !absl::EndsWith(weight.name, "projection.weight");
  if (is_table && absl::StartsWith(weight.name, "embeddings.")) return {0, 1};
  return {0, 1 / std::sqrt(static_cast<double>(weight.shape.back()))};
}

}  // namespace

ModelConfig OneLayerConfig() {
  ModelConfig config;
  config.hidden_size = 64;
  config.num_layers = 1;
  config.num_heads = 1;
  config.head_dim = 64;
  config.intermediate_size = 256;
  config.vocab_size = 97;
  config.max_tokens = 1 << 20;
  config.attention.num_features = 32;
  config.attention.bias.kind = BiasKind::kT5;
  return config;
}

ModelConfig SmallConfig() {
  ModelConfig config = OneLayerConfig();
  config.hidden_size = 48;
  config.num_layers = 3;
  config.num_heads = 3;
  config.head_dim = 16;
  config.intermediate_size = 112;
  config.attention.num_features = 24;
  return config;
}

ModelFolder RandomModel(const ModelConfig& config, uint32_t seed) {
  ModelFolder folder;
  folder.config = config;
  folder.weights_digest = "0123";
  std::mt19937 random(seed);
  for (const ExpectedWeight& expected : ExpectedWeights(config)) {
    const Distribution distribution = DistributionOf(expected);
    std::normal_distribution<double> normal(distribution.mean, distribution.deviation);
    WeightTensor& tensor = folder.weights[expected.name];
    tensor.shape = expected.shape;
    int64_t size = 1;
    for (const int64_t extent : expected.shape) size *= extent;
    tensor.values.resize(size);
    for (float& value : tensor.values) value = static_cast<float>(normal(random));
    if (config.attention.bias.kind == BiasKind::kAlibi &&
        (expected.name == "attention_bias" || absl::EndsWith(expected.name, "attention.bias"))) {
      for (float& value : tensor.values) value = std::abs(value);  // slopes
    }
  }
  return folder;
}

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab_size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab_size);
  return tokens;
}

}  // namespace longwave
