#include "model/attention/toeplitz_weights.h"

#include <algorithm>
#include <cmath>

#include "gtest/gtest.h"
#include "tests/unit/attention/bias_weights.h"

namespace longwave {
namespace {

ToeplitzWeights Make(const BiasConfig& bias, const std::vector<float>& values, int64_t heads = 1,
                     bool causal = false, int64_t max_tokens = 100000) {
  const ModelConfig config = BiasModel(bias, heads, causal, max_tokens);
  const int64_t columns = static_cast<int64_t>(values.size()) / heads;
  return ToeplitzWeights(*RelativeBias::Create(config, BiasTensor({heads, columns}, values), 0),
                         causal, max_tokens);
}

double Noise(int64_t o) { return std::sin(12.9898 * static_cast<double>(o)) * 2; }

TEST(ToeplitzWeightsTest, AreExponentialsBelowTheMaximum) {
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kClipped, .max_distance = 1}, {1.0F, 3.0F, 2.0F});
  EXPECT_DOUBLE_EQ(weights.Log(0, 0), 0);
  EXPECT_DOUBLE_EQ(weights.Log(0, 1), -1);
  EXPECT_DOUBLE_EQ(weights.Log(0, -500), -2);
  const std::vector<double> c = weights.Range(0, -2, 1);
  ASSERT_EQ(c.size(), 4);
  EXPECT_DOUBLE_EQ(c[0], std::exp(-2));
  EXPECT_DOUBLE_EQ(c[3], std::exp(-1));
}

TEST(ToeplitzWeightsTest, CausalSeesNothingAhead) {
  // The largest bias lies ahead, where no causal head looks.
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kClipped, .max_distance = 1}, {1.0F, 2.0F, 9.0F}, 1, true);
  EXPECT_EQ(weights.Range(0, 1, 1)[0], 0);
  EXPECT_DOUBLE_EQ(weights.Log(0, 0), 0);
  EXPECT_TRUE(weights.after(0).absent);
  EXPECT_TRUE(weights.structured());
}

TEST(ToeplitzWeightsTest, FindsNoBandWithoutBias) {
  const ModelConfig config = BiasModel({});
  const ToeplitzWeights weights(*RelativeBias::Create(config, {}, 0), false, 4096);
  EXPECT_TRUE(weights.structured());
  EXPECT_EQ(weights.band(), 0);
  EXPECT_EQ(weights.before(0).log_ratio, 0);
}

TEST(ToeplitzWeightsTest, FindsWhereTheLastBucketBegins) {
  std::vector<float> values(32);
  for (int64_t b = 0; b < 32; ++b) values[b] = static_cast<float>(b) / 16;
  const ToeplitzWeights weights = Make({.kind = BiasKind::kT5, .max_distance = 128}, values);
  EXPECT_TRUE(weights.structured());
  // The last of 16 buckets a side begins at ceil(8 * 16^(7/8)) = 91.
  EXPECT_EQ(weights.band(), 91);
  EXPECT_DOUBLE_EQ(weights.after(0).log_scale, 0);
  EXPECT_DOUBLE_EQ(weights.before(0).log_scale, (15.0 - 31.0) / 16);
}

TEST(ToeplitzWeightsTest, AlibiIsExponentialFromTheStart) {
  const ToeplitzWeights weights = Make({.kind = BiasKind::kAlibi}, {0.5F, 0.125F}, 2);
  EXPECT_TRUE(weights.structured());
  EXPECT_EQ(weights.band(), 0);
  EXPECT_DOUBLE_EQ(weights.before(1).log_ratio, -0.125);
  EXPECT_DOUBLE_EQ(weights.before(1).log_scale, 0);
}

TEST(ToeplitzWeightsTest, RisingTailsAreNoStructure) {
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kAlibi}, {-0.001F}, 1, false, /*max_tokens=*/1000);
  EXPECT_FALSE(weights.structured());
}

TEST(ToeplitzWeightsTest, FindsTailsOfFreeTables) {
  const auto flat = [](int64_t o) { return std::abs(o) < 40 ? Noise(o) : (o < 0 ? 0.5 : -0.25); };
  const ToeplitzWeights constant = TableWeights(512, false, flat);
  EXPECT_TRUE(constant.structured());
  EXPECT_EQ(constant.band(), 40);
  EXPECT_EQ(constant.before(0).log_ratio, 0);

  const auto line = [](int64_t o) { return std::abs(o) < 40 ? Noise(o) : -0.01 * std::abs(o); };
  const ToeplitzWeights exponential = TableWeights(512, false, line);
  EXPECT_TRUE(exponential.structured());
  EXPECT_EQ(exponential.band(), 40);
  EXPECT_NEAR(exponential.after(0).log_ratio, -0.01, 1e-8);
  // Wherever the tail is used, it is c to a few roundings of a float.
  for (const int64_t o : {40, 100, 511}) {
    const double tail = exponential.after(0).log_scale + exponential.after(0).log_ratio * o;
    EXPECT_NEAR(tail, exponential.Log(0, o), 0x1p-21);
  }
}

TEST(ToeplitzWeightsTest, NoiseIsNoStructure) {
  EXPECT_FALSE(TableWeights(512, false, Noise).structured());
  // Nor is a side that settles only in its outer half.
  EXPECT_FALSE(TableWeights(512, false, [](int64_t o) {
                 return std::abs(o) < 400 ? Noise(o) : 0;
               }).structured());
  // One noisy side is enough.
  EXPECT_FALSE(
      TableWeights(512, false, [](int64_t o) { return o < 0 ? Noise(o) : 0; }).structured());
  EXPECT_TRUE(TableWeights(512, true, [](int64_t o) { return o > 0 ? Noise(o) : 0; }).structured());
}

TEST(ToeplitzWeightsTest, ClippedTablesAreFlatBeyondTheirEnd) {
  std::vector<float> values;
  for (int64_t o = -99; o <= 99; ++o) values.push_back(static_cast<float>(Noise(o)));
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kTable, .table_length = 100, .beyond = BeyondTable::kClip}, values);
  EXPECT_TRUE(weights.structured());
  EXPECT_EQ(weights.band(), 99);
}

TEST(ToeplitzWeightsTest, RowSumRatioIsThatOfTheMatrix) {
  const int64_t n = 50;
  for (const bool causal : {false, true}) {
    const ToeplitzWeights weights = TableWeights(n, causal, Noise);
    double largest = 0;
    double smallest = 1e300;
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j) sum += std::exp(weights.Log(0, j - i));
      largest = std::max(largest, sum);
      smallest = std::min(smallest, sum);
    }
    EXPECT_NEAR(weights.RowSumRatio(0, n), largest / smallest, 1e-12 * largest / smallest);
    EXPECT_EQ(weights.RowSumRatio(0, n), weights.RowSumRatio(0, n));
    EXPECT_EQ(weights.RowSumRatio(0, 1), 1);
  }
}

TEST(ToeplitzWeightsTest, FindsTheRunsOfLogarithmicBuckets) {
  std::vector<float> values(32);
  for (int64_t b = 0; b < 32; ++b) values[b] = static_cast<float>(b) / 16;
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kT5, .max_distance = 65536}, values, 1, false, 1 << 20);
  const std::vector<ConstantRun>& runs = weights.structure(0).after.runs;
  // Buckets 8 to 15 of a side begin at ceil(8 * 8192^(k/8)): 8, 25, 77, 235, 725, 2233, 6889,
  // 21247; those of fewer than 128 distances are no runs.
  ASSERT_EQ(runs.size(), 6);
  EXPECT_EQ(runs[0].first, 77);
  for (size_t i = 0; i + 1 < runs.size(); ++i) EXPECT_EQ(runs[i].end, runs[i + 1].first);
  EXPECT_EQ(runs.back().end, ConstantRun::kForever);
  for (const ConstantRun& run : runs) {
    const int64_t last = std::min<int64_t>(run.end - 1, 1000000);
    EXPECT_EQ(weights.Log(0, run.first), run.log_value);
    EXPECT_EQ(weights.Log(0, last), run.log_value);
    EXPECT_NE(weights.Log(0, run.first - 1), run.log_value);
  }
  EXPECT_EQ(weights.structure(0).before.runs.back().log_value, (15.0 - 31.0) / 16);
}

TEST(ToeplitzWeightsTest, RunsMayLieBetweenNoise) {
  const auto bias = [](int64_t o) {
    const int64_t distance = std::abs(o);
    return distance >= 100 && distance < 400 ? 0.5 : Noise(o);
  };
  const ToeplitzWeights weights = TableWeights(1024, false, bias);
  EXPECT_FALSE(weights.structured());
  ASSERT_EQ(weights.structure(0).before.runs.size(), 1);
  EXPECT_EQ(weights.structure(0).before.runs[0].first, 100);
  EXPECT_EQ(weights.structure(0).before.runs[0].end, 400);
  EXPECT_TRUE(TableWeights(1024, false, Noise).structure(0).after.runs.empty());
  // A line is no run; ahead of a causal query there is nothing at all.
  EXPECT_TRUE(Make({.kind = BiasKind::kAlibi}, {0.5F}).structure(0).before.runs.empty());
  EXPECT_TRUE(TableWeights(1024, true, bias).structure(0).after.runs.empty());
}

TEST(ToeplitzWeightsTest, HeadsHaveTheirOwnStructure) {
  std::vector<float> values(2 * 1023);
  for (int64_t i = 0; i < 1023; ++i) values[i] = static_cast<float>(Noise(i - 511));
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kTable, .table_length = 512}, values, 2, false, 512);
  EXPECT_FALSE(weights.structured());
  EXPECT_FALSE(weights.structure(0).tailed());
  EXPECT_TRUE(weights.structure(1).tailed());
  EXPECT_EQ(weights.structure(1).band(), 0);
}

// Rows of padding reach a little beyond the longest sequence; nothing there may overflow.
TEST(ToeplitzWeightsTest, OffsetsBeyondTheLongestSequenceNeverExceedTheMaximum) {
  std::vector<float> values(2 * 100 - 1, 0);
  values[0] = values[198] = 1000;  // at offsets of -99 and 99
  const ToeplitzWeights weights =
      Make({.kind = BiasKind::kTable, .table_length = 100, .beyond = BeyondTable::kClip}, values, 1,
           false, /*max_tokens=*/90);
  EXPECT_EQ(weights.Log(0, 99), 0);
  EXPECT_EQ(weights.Log(0, -120), 0);
  EXPECT_EQ(weights.Spread(), 0);
}

TEST(ToeplitzWeightsTest, SpreadIsWhatTheOwnPositionMayLack) {
  EXPECT_DOUBLE_EQ(TableWeights(64, false, [](int64_t o) { return o == 3 ? 20.0 : 0.0; }).Spread(),
                   20);
  EXPECT_DOUBLE_EQ(TableWeights(64, true, [](int64_t o) { return o == 3 ? 20.0 : 0.0; }).Spread(),
                   0);
  EXPECT_DOUBLE_EQ(Make({.kind = BiasKind::kAlibi}, {0.5F}).Spread(), 0);
}

}  // namespace
}  // namespace longwave
