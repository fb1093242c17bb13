#include "tests/bench/random_model.h"

#include <cmath>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "model/weights/weight_table.h"

namespace longwave {
namespace {

ModelConfig ConfigFor(const BenchOptions& options, FeatureKind features) {
  ModelConfig config;
  config.hidden_size = options.heads * options.head_dim;
  config.num_layers = options.layers;
  config.num_heads = options.heads;
  config.head_dim = options.head_dim;
  config.intermediate_size = options.intermediate;
  config.vocab_size = 260;
  config.max_tokens = 1 << 20;
  config.attention.features = features;
  config.attention.num_features = options.features;
  config.attention.causal = options.causal;
  config.attention.bias.kind = options.bias;
  config.attention.bias.max_distance = options.max_distance;
  config.attention.bias.table_length = options.tokens;
  // A smooth bias is what interpolation is for; a model has to ask for it.
  if (options.power_law) config.attention.interpolation_error = 1e-3;
  return config;
}

// Standard deviation of a tensor's values. Linear layers: 1/sqrt(inputs), so that activations keep
// their size; projections: 1, as the random features ask; biases of attention: 1/2.
double Deviation(const ExpectedWeight& weight) {
  if (absl::EndsWith(weight.name, "projection")) return 1.0;
  if (absl::EndsWith(weight.name, "attention_bias") ||
      absl::EndsWith(weight.name, "attention.bias")) {
    return 0.5;
  }
  if (weight.shape.size() == 2) return 1.0 / std::sqrt(static_cast<double>(weight.shape[1]));
  return 0.02;
}

// ALiBi's slopes are positive: 2^(-8 (h + 1) / H), as its paper has them.
void SetSlopes(WeightTensor& tensor) {
  const double heads = static_cast<double>(tensor.values.size());
  for (size_t h = 0; h < tensor.values.size(); ++h) {
    tensor.values[h] = static_cast<float>(std::exp2(-8.0 * static_cast<double>(h + 1) / heads));
  }
}

// A smooth bias that no bucket has: b(o) = -a log(1 + |o|), a from 1/2 to 1 over the heads.
void SetPowerLaw(WeightTensor& tensor) {
  const int64_t heads = tensor.shape[0];
  const int64_t offsets = tensor.shape[1];
  for (int64_t h = 0; h < heads; ++h) {
    const double slope = 0.5 + 0.5 * static_cast<double>(h + 1) / static_cast<double>(heads);
    for (int64_t i = 0; i < offsets; ++i) {
      const double distance = std::abs(static_cast<double>(i - offsets / 2));
      tensor.values[h * offsets + i] = static_cast<float>(-slope * std::log1p(distance));
    }
  }
}

}  // namespace

std::vector<float> RandomNormal(int64_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(generator);
  return values;
}

ModelFolder RandomModel(const BenchOptions& options, FeatureKind features) {
  ModelFolder folder;
  folder.config = ConfigFor(options, features);
  folder.serving.name = "random";
  folder.serving.tokenizer_kind = "byte";
  folder.weights_digest = std::string(64, '0');
  uint64_t seed = options.seed;
  for (const ExpectedWeight& weight : ExpectedWeights(folder.config)) {
    int64_t count = 1;
    for (const int64_t extent : weight.shape) count *= extent;
    WeightTensor tensor{weight.shape, RandomNormal(count, seed++)};
    const bool is_norm_gain = absl::EndsWith(weight.name, "norm.weight");
    const float deviation = static_cast<float>(Deviation(weight));
    for (float& value : tensor.values) value = value * deviation + (is_norm_gain ? 1.0f : 0.0f);
    const bool is_bias_of_attention = absl::EndsWith(weight.name, "attention_bias");
    if (is_bias_of_attention && options.bias == BiasKind::kAlibi) SetSlopes(tensor);
    if (is_bias_of_attention && options.power_law) SetPowerLaw(tensor);
    folder.weights.emplace(weight.name, std::move(tensor));
  }
  return folder;
}

}  // namespace longwave
