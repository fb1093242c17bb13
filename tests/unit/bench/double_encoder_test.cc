#include "tests/bench/double_encoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "model/reference/encoder.h"
#include "tests/bench/encoder_run.h"
#include "tests/bench/random_model.h"
#include "tests/bench/workload.h"

namespace longwave {
namespace {

// Both are double: what differs is the order of at most some thousand additions a value, 1e3 times
// 2^-53 through a few layers that keep relative errors about as they are.
constexpr double kTolerance = 1e-11;

class DoubleEncoderTest : public testing::TestWithParam<int64_t> {};

TEST_P(DoubleEncoderTest, EqualsTheReference) {
  BenchOptions options;
  options.tokens = GetParam();
  options.heads = 2;
  options.head_dim = 8;
  options.features = 8;
  options.layers = 2;
  options.intermediate = 24;
  options.bias = BiasKind::kT5;
  const ModelFolder model = RandomModel(options, FeatureKind::kPrf);
  const std::vector<int32_t> ids = BenchIds(options.tokens, 3);
  const std::vector<int64_t> rows = SampledRows(options.tokens, 4);
  const at::Tensor actual = DoubleStates(model.config, model.weights, ids, rows);
  const auto states = ReferenceHiddenStates(model.config, model.weights, ids);
  ASSERT_TRUE(states.ok());
  const std::vector<double>& last = states->back();
  const int64_t hidden = model.config.hidden_size;
  ASSERT_EQ(actual.numel(), static_cast<int64_t>(rows.size()) * hidden);
  for (size_t r = 0; r < rows.size(); ++r) {
    for (int64_t c = 0; c < hidden; ++c) {
      const double expected = last[rows[r] * hidden + c];
      EXPECT_NEAR(actual[static_cast<int64_t>(r)][c].item<double>(), expected, kTolerance)
          << "row " << rows[r] << " channel " << c;
    }
  }
}

// Around one, two and several blocks of 128, where the band and the scanned sums meet.
INSTANTIATE_TEST_SUITE_P(Lengths, DoubleEncoderTest,
                         testing::Values(1, 127, 128, 129, 257, 384, 385, 700));

}  // namespace
}  // namespace longwave
