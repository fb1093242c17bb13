#include "model/reference/encoder.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/model_folder.h"

// The C++ reference against the numpy twin: two independent writings of the same equations, both in
// double. LONGWAVE_MODELS_DIR is where the build makes the test models.
namespace longwave {
namespace {

// The twin prints 12 digits; both sides round differently in the 13th or later. Values and their
// conditioning are of order 1 to 10.
constexpr double kAgreement = 1e-10;

ModelFolder Load(const std::string& name) {
  auto model = LoadModelFolder(std::string(LONGWAVE_MODELS_DIR) + "/" + name);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// The rows that the golden kept.
std::vector<double> KeptRows(const ModelFolder& model, const GoldenVector& golden) {
  const auto states = ReferenceHiddenStates(model.config, model.weights, golden.token_ids);
  EXPECT_TRUE(states.ok()) << states.status();
  const std::vector<double> all = ReferenceOutput(model.config, golden.output, *states);
  const size_t dim = golden.values.size() / golden.rows.size();
  std::vector<double> kept;
  for (const int64_t row : golden.rows) {
    kept.insert(kept.end(), all.begin() + row * dim, all.begin() + (row + 1) * dim);
  }
  return kept;
}

double LargestDifference(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

class EveryModel : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Models, EveryModel,
                         testing::Values("tiny_t5", "tiny_table", "tiny_clipped", "tiny_alibi",
                                         "tiny_none", "tiny_causal", "post_norm_swiglu", "tiny_trf",
                                         "tiny_elu", "tiny_softmax", "tiny_sphere",
                                         "tiny_unnormalised", "tiny_learned", "tiny_ngram",
                                         "tiny_words"),
                         [](const auto& name) { return name.param; });

TEST_P(EveryModel, ReproducesTheTwinsGoldens) {
  const ModelFolder model = Load(GetParam());
  ASSERT_GE(model.serving.goldens.size(), 3u);
  size_t longest = 0;
  for (const GoldenVector& golden : model.serving.goldens) {
    longest = std::max(longest, golden.token_ids.size());
    EXPECT_LT(LargestDifference(KeptRows(model, golden), golden.values), kAgreement)
        << golden.token_ids.size() << " tokens";
    EXPECT_GT(golden.tolerance, 10 * kAgreement);
    EXPECT_LT(golden.tolerance, 1e-4);
  }
  EXPECT_GE(longest, 4096u) << "goldens reach at least 4 k tokens";
}

// What the encoder's own check relies on: goldens tell a damaged tensor from rounding.
TEST(Goldens, NoticeOneDamagedBlockOfAnyTensor) {
  ModelFolder model = Load("tiny_t5");
  for (auto& [name, tensor] : model.weights) {
    const std::vector<float> sound = tensor.values;
    // A tenth of the tensor, at least one value, a percent off.
    const size_t damaged = std::max<size_t>(1, sound.size() / 10);
    for (size_t i = 0; i < damaged; ++i) tensor.values[i] *= 1.01f;
    double worst = 0;
    for (const GoldenVector& golden : model.serving.goldens) {
      if (golden.token_ids.size() > 300) continue;
      const double difference = LargestDifference(KeptRows(model, golden), golden.values);
      worst = std::max(worst, difference / golden.tolerance);
    }
    EXPECT_GT(worst, 1) << name;
    tensor.values = sound;
  }
}

TEST(ReferenceEncoder, CausalRowsDoNotSeeLaterTokens) {
  const ModelFolder model = Load("tiny_causal");
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 260);
  const auto whole = ReferenceHiddenStates(model.config, model.weights, ids);
  ids.resize(25);
  const auto prefix = ReferenceHiddenStates(model.config, model.weights, ids);
  ASSERT_TRUE(whole.ok() && prefix.ok());
  std::vector<double> expected = whole->back();
  expected.resize(prefix->back().size());
  EXPECT_LT(LargestDifference(prefix->back(), expected), 1e-13);
}

TEST(ReferenceEncoder, CancelledDenominatorsAreReported) {
  // One feature, whose sine and cosine parts cancel over two tokens: phi(k) of the two tokens are
  // opposite when their angles differ by pi.
  ModelFolder model = Load("tiny_trf");
  model.config.attention.bias.kind = BiasKind::kNone;
  for (auto& [name, tensor] : model.weights) {
    if (name.find("projection") == std::string::npos) continue;
    std::fill(tensor.values.begin(), tensor.values.end(), 0);
    for (size_t r = 0; r < tensor.values.size(); r += model.config.head_dim) {
      tensor.values[r] = static_cast<float>(M_PI / 2);
    }
  }
  // Keys +e and -e: angles +pi/2 and -pi/2.
  for (const char* layer : {"layers.0.", "layers.1."}) {
    auto& weight = model.weights.at(std::string(layer) + "attention.key.weight").values;
    std::fill(weight.begin(), weight.end(), 0);
    for (int64_t h = 0; h < model.config.num_heads; ++h) {
      weight[h * model.config.head_dim * model.config.hidden_size] = 1;
    }
    auto& bias = model.weights.at(std::string(layer) + "attention.key.bias").values;
    std::fill(bias.begin(), bias.end(), 0);
  }
  auto& tokens = model.weights.at("embeddings.token.weight").values;
  for (int64_t c = 0; c < model.config.hidden_size; ++c) {
    tokens[c] = c == 0 ? 5 : 0;
    tokens[model.config.hidden_size + c] = c == 0 ? -5 : 0;
  }
  const auto states = ReferenceHiddenStates(model.config, model.weights, {0, 1});
  EXPECT_EQ(states.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(states.status().message()), testing::HasSubstr("layer 0, head 0, row 0"));
}

}  // namespace
}  // namespace longwave
