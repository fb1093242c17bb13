#include "tests/unit/encoder/random_model.h"

#include <cmath>
#include <random>
#include <set>

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

// Ascending keys (WordConfig): those of all words of one byte, which random tokens have, and others
// up to `count`.
std::vector<float> WordKeys(int64_t count) {
  std::set<uint32_t> keys;
  for (int byte = 0; byte < 256; ++byte) {
    const bool upper = byte >= 'A' && byte <= 'Z';
    const bool letter = (byte >= 'a' && byte <= 'z') || byte >= 128;
    if (upper || (!letter && !(byte >= '0' && byte <= '9'))) continue;
    uint64_t hash = (static_cast<uint64_t>(byte) + 1) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
    keys.insert(static_cast<uint32_t>(hash));
  }
  for (uint32_t other = 1; static_cast<int64_t>(keys.size()) < count; ++other) keys.insert(other);
  std::vector<float> values;
  for (const uint32_t key : keys) {
    if (static_cast<int64_t>(values.size()) == count * WordConfig::kKeyBytes) break;
    for (int k = 0; k < WordConfig::kKeyBytes; ++k) {
      values.push_back(static_cast<float>(key >> (8 * k) & 255));
    }
  }
  return values;
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
    if (expected.name == "embeddings.word_keys") tensor.values = WordKeys(config.words.count);
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
