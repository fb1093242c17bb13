// The encoder against the double encoder: every kind of layer, by every route.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/unit/encoder/encode.h"
#include "tests/unit/encoder/reference_tolerance.h"

namespace longwave {
namespace {

struct Case {
  std::string name;
  ModelConfig config;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const auto add = [&cases](const std::string& name, auto change) {
    Case c{name, SmallConfig()};
    c.config.attention.bias.max_distance = 40;
    change(c.config);
    cases.push_back(std::move(c));
  };
  add("plain", [](ModelConfig&) {});
  add("post_norm", [](ModelConfig& c) { c.norm_position = NormPosition::kPost; });
  add("no_final_norm", [](ModelConfig& c) { c.final_norm = false; });
  add("gelu_tanh", [](ModelConfig& c) { c.activation = Activation::kGeluTanh; });
  add("relu", [](ModelConfig& c) { c.activation = Activation::kRelu; });
  add("swiglu", [](ModelConfig& c) { c.activation = Activation::kSwiglu; });
  add("no_biases", [](ModelConfig& c) { c.use_bias = false; });
  add("embedding_norm", [](ModelConfig& c) { c.embedding_norm = true; });
  add("learned_positions", [](ModelConfig& c) {
    c.positions = PositionKind::kLearned;
    c.position_table_length = c.max_tokens = 1000;
  });
  add("ngrams",
      [](ModelConfig& c) { c.ngrams = {.sizes = {2, 3, 16}, .buckets = 300, .dim = 20}; });
  add("ngrams_of_one_size_positions_and_norm", [](ModelConfig& c) {
    c.ngrams = {.sizes = {4}, .buckets = 1, .dim = 48};
    c.positions = PositionKind::kSinusoidal;
    c.embedding_norm = true;
  });
  add("words", [](ModelConfig& c) {
    c.words = {.count = 200, .dim = 20};
    c.vocab_size = 260;
  });
  add("words_ngrams_positions_and_norm", [](ModelConfig& c) {
    c.words = {.count = 150, .dim = 48};
    c.ngrams = {.sizes = {4}, .buckets = 9, .dim = 8};
    c.vocab_size = 256;
    c.positions = PositionKind::kSinusoidal;
    c.embedding_norm = true;
  });
  add("sinusoidal_positions", [](ModelConfig& c) { c.positions = PositionKind::kSinusoidal; });
  add("heads_wider_than_hidden", [](ModelConfig& c) { c.head_dim = 32; });
  add("causal", [](ModelConfig& c) { c.attention.causal = true; });
  add("no_relative_bias", [](ModelConfig& c) { c.attention.bias.kind = BiasKind::kNone; });
  add("clipped", [](ModelConfig& c) { c.attention.bias.kind = BiasKind::kClipped; });
  add("alibi", [](ModelConfig& c) { c.attention.bias.kind = BiasKind::kAlibi; });
  add("table", [](ModelConfig& c) {
    c.attention.bias.kind = BiasKind::kTable;
    c.attention.bias.table_length = c.max_tokens = 400;
  });
  add("bias_of_each_layer", [](ModelConfig& c) { c.attention.bias.shared_layers = false; });
  add("elu_features", [](ModelConfig& c) {
    c.attention.features = FeatureKind::kElu;
    c.attention.num_features = 0;
  });
  add("trigonometric_features", [](ModelConfig& c) { c.attention.features = FeatureKind::kTrf; });
  add("unnormalised_features", [](ModelConfig& c) { c.attention.qk_norm = false; });
  add("softmax", [](ModelConfig& c) {
    c.attention.features = FeatureKind::kSoftmax;
    c.attention.num_features = 0;
  });
  return cases;
}

class EncoderAccuracyTest : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Kinds, EncoderAccuracyTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& kind) { return kind.param.name; });

TEST_P(EncoderAccuracyTest, AgreesWithTheReferenceByEveryRoute) {
  const ModelFolder folder = RandomModel(GetParam().config, 11);
  const auto encoder = MakeEncoder(folder);
  OutputSpec output{.pooling = Pooling::kRows, .row_stride = 7};
  output.layers = {0, 1, 3};
  for (const int64_t n : {1, 65, 300}) {
    const std::vector<int32_t> tokens =
        RandomTokens(n, folder.config.vocab_size, static_cast<uint32_t>(n));
    const ReferenceResult expected = ReferenceEncode(folder, tokens, output);
    std::vector<Route> routes = encoder->Info().routes;
    routes.push_back(Route::kAuto);
    for (const Route route : routes) {
      const std::vector<float> actual = EncodeOne(*encoder, tokens, output, route);
      ASSERT_EQ(actual.size(), expected.values.size());
      for (size_t i = 0; i < actual.size(); ++i) {
        ASSERT_NEAR(actual[i], expected.values[i], expected.tolerance)
            << RouteName(route) << ", " << n << " tokens, value " << i;
      }
    }
  }
}

}  // namespace
}  // namespace longwave
