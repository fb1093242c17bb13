#include "tests/unit/encoder/reference_tolerance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "model/reference/encoder.h"
#include "model/reference/output.h"

namespace longwave {
namespace {

constexpr int kDraws = 3;

std::vector<double> Run(const ModelConfig& config, const WeightMap& weights,
                        const std::vector<int32_t>& tokens, const OutputSpec& output) {
  const auto states = ReferenceHiddenStates(config, weights, tokens);
  EXPECT_TRUE(states.ok()) << states.status();
  return states.ok() ? ReferenceOutput(config, output, *states) : std::vector<double>();
}

// In float, so each draw is rounded once more: less than a K-th of what is drawn.
WeightMap Perturbed(const WeightMap& weights, double relative, uint32_t seed) {
  WeightMap perturbed = weights;
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(-relative, relative);
  for (auto& [name, tensor] : perturbed) {
    for (float& value : tensor.values) value = static_cast<float>(value * (1 + uniform(random)));
  }
  return perturbed;
}

}  // namespace

ReferenceResult ReferenceEncode(const ModelFolder& folder, const std::vector<int32_t>& tokens,
                                const OutputSpec& output) {
  const ModelConfig& config = folder.config;
  ReferenceResult result{.values = Run(config, folder.weights, tokens, output)};
  const int64_t longest_sum =
      std::max({config.hidden_size, config.intermediate_size, config.num_heads * config.head_dim});
  const double relative = std::ldexp(4 * std::sqrt(static_cast<double>(longest_sum)), -24);
  for (int draw = 0; draw < kDraws; ++draw) {
    const std::vector<double> moved =
        Run(config, Perturbed(folder.weights, relative, draw), tokens, output);
    for (size_t i = 0; i < moved.size(); ++i) {
      result.tolerance = std::max(result.tolerance, 2 * std::abs(moved[i] - result.values[i]));
    }
  }
  return result;
}

}  // namespace longwave
