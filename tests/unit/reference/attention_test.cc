#include "model/reference/attention.h"

#include <cmath>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

double NoBias(int64_t) { return 0; }
double SomeBias(int64_t offset) { return std::sin(1.3 * offset) - 0.2 * std::abs(offset); }

// A head filled with seeded normal numbers.
struct HeadData {
  HeadData(int64_t n, int64_t d, int64_t m, double size = 1) : tokens(n), head_dim(d) {
    std::mt19937_64 random(n * 1000 + d);
    std::normal_distribution<double> normal;
    for (auto* rows : {&q, &k, &v}) {
      for (int64_t i = 0; i < n * d; ++i) rows->push_back(size * normal(random));
    }
    for (int64_t i = 0; i < m * d; ++i) projection.push_back(normal(random));
  }
  ReferenceHead view() const { return {tokens, head_dim, q, k, v, projection}; }

  int64_t tokens;
  int64_t head_dim;
  std::vector<double> q, k, v, projection;
};

AttentionConfig Config(FeatureKind kind, bool qk_norm = true, bool causal = false) {
  AttentionConfig config;
  config.features = kind;
  config.qk_norm = qk_norm;
  config.causal = causal;
  return config;
}

ReferenceRows AllRows(const HeadData& head, const AttentionConfig& config,
                      double (*bias)(int64_t) = SomeBias) {
  return ReferenceAttention(head.view(), config, bias, 0, head.tokens);
}

void ExpectNear(const std::vector<double>& actual, const std::vector<double>& expected,
                double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i], expected[i], tolerance) << i;
}

constexpr FeatureKind kAllKinds[] = {FeatureKind::kPrf, FeatureKind::kTrf, FeatureKind::kSphere,
                                     FeatureKind::kElu, FeatureKind::kSoftmax};

class EveryKind : public testing::TestWithParam<std::tuple<FeatureKind, bool>> {
 protected:
  AttentionConfig Kind(bool causal = false) const {
    return Config(std::get<0>(GetParam()), std::get<1>(GetParam()), causal);
  }
};

INSTANTIATE_TEST_SUITE_P(Kinds, EveryKind,
                         testing::Combine(testing::ValuesIn(kAllKinds), testing::Bool()));

TEST_P(EveryKind, OneTokenIsItsValue) {
  const HeadData head(1, 3, 4);
  ExpectNear(AllRows(head, Kind()).values, head.v, 1e-15);
}

TEST_P(EveryKind, EqualKeysLeaveTheRelativeWeightsAlone) {
  HeadData head(7, 3, 4);
  for (int64_t j = 0; j < 7 * 3; ++j) head.k[j] = head.k[j % 3];
  const ReferenceRows rows = AllRows(head, Kind());
  for (int64_t i = 0; i < 7; ++i) {
    double numerator = 0;
    double denominator = 0;
    for (int64_t j = 0; j < 7; ++j) {
      numerator += std::exp(SomeBias(j - i)) * head.v[j * 3 + 1];
      denominator += std::exp(SomeBias(j - i));
    }
    EXPECT_NEAR(rows.values[i * 3 + 1], numerator / denominator, 1e-14);
  }
}

TEST_P(EveryKind, CausalRowsDoNotSeeLaterTokens) {
  const HeadData whole(9, 4, 6);
  HeadData prefix = whole;
  prefix.tokens = 5;
  for (auto* rows : {&prefix.q, &prefix.k, &prefix.v}) rows->resize(5 * 4);
  std::vector<double> expected = AllRows(whole, Kind(true)).values;
  expected.resize(5 * 4);
  ExpectNear(AllRows(prefix, Kind(true)).values, expected, 1e-14);
}

TEST_P(EveryKind, RowRangesAreSlicesOfTheWhole) {
  const HeadData head(9, 4, 6);
  const ReferenceRows whole = AllRows(head, Kind());
  const ReferenceRows part = ReferenceAttention(head.view(), Kind(), SomeBias, 3, 8);
  EXPECT_THAT(part.values, testing::ElementsAreArray(whole.values.begin() + 3 * 4,
                                                     whole.values.begin() + 8 * 4));
  EXPECT_THAT(part.denominators, testing::ElementsAreArray(whole.denominators.begin() + 3,
                                                           whole.denominators.begin() + 8));
  EXPECT_TRUE(ReferenceAttention(head.view(), Kind(), SomeBias, 4, 4).values.empty());
  const ReferenceRows chosen = ReferenceAttention(head.view(), Kind(), SomeBias, {7, 2});
  ASSERT_EQ(chosen.values.size(), 2 * 4);
  EXPECT_EQ(chosen.values[0], whole.values[7 * 4]);
  EXPECT_EQ(chosen.values[4], whole.values[2 * 4]);
  EXPECT_EQ(chosen.magnitudes[1], whole.magnitudes[2]);
}

// Theorems about the maps: their kernels estimate exp(x . y), so that many features come to the
// softmax attention of the same vectors. Mean absolute difference; 8000 features, error ~
// 1/sqrt(m).
TEST(ReferenceAttention, RandomFeaturesEstimateTheExponentialKernel) {
  for (const FeatureKind kind : {FeatureKind::kPrf, FeatureKind::kTrf}) {
    for (const bool qk_norm : {true, false}) {
      const HeadData head(6, 8, 8000, 0.8);
      const std::vector<double> actual = AllRows(head, Config(kind, qk_norm)).values;
      const std::vector<double> exact =
          AllRows(head, Config(FeatureKind::kSoftmax, qk_norm)).values;
      double difference = 0;
      for (size_t i = 0; i < exact.size(); ++i) difference += std::abs(actual[i] - exact[i]);
      EXPECT_LT(difference / exact.size(), 0.02) << static_cast<int>(kind) << qk_norm;
    }
  }
}

// Eq. 5 and 10 of the paper, written out for two tokens of two numbers and two features.
TEST(ReferenceAttention, PrfIsEquationFive) {
  HeadData head(2, 2, 2);
  head.q = {3, 4, 0, -2};
  head.k = {1, 0, -5, 12};
  head.v = {1, 10, 2, 20};
  head.projection = {0.5, -1, 2, 0.25};
  const ReferenceRows rows = AllRows(head, Config(FeatureKind::kPrf), SomeBias);
  const auto phi = [](double x, double y) {
    const double scale = std::exp(-0.5) / std::sqrt(2);
    return std::array<double, 2>{scale * std::exp(0.5 * x - y), scale * std::exp(2 * x + 0.25 * y)};
  };
  const auto q = phi(0.6, 0.8);
  const auto k0 = phi(1, 0);
  const auto k1 = phi(-5.0 / 13, 12.0 / 13);
  const double w0 = std::exp(SomeBias(0)) * (q[0] * k0[0] + q[1] * k0[1]);
  const double w1 = std::exp(SomeBias(1)) * (q[0] * k1[0] + q[1] * k1[1]);
  EXPECT_NEAR(rows.values[0], (1 * w0 + 2 * w1) / (w0 + w1), 1e-15);
  EXPECT_NEAR(rows.values[1], (10 * w0 + 20 * w1) / (w0 + w1), 1e-14);
}

TEST(ReferenceAttention, ScaleMultipliesTheUnitVectors) {
  HeadData head(5, 4, 6);
  AttentionConfig config = Config(FeatureKind::kSoftmax);
  config.scale = 3;
  const std::vector<double> scaled = AllRows(head, config).values;
  // Without qk_norm the logits are q . k / sqrt(d): unit vectors times 3 d^(1/4) give the same.
  for (auto* rows : {&head.q, &head.k}) {
    for (int64_t i = 0; i < 5; ++i) {
      double norm = 0;
      for (int64_t c = 0; c < 4; ++c) norm = std::hypot(norm, (*rows)[i * 4 + c]);
      for (int64_t c = 0; c < 4; ++c) (*rows)[i * 4 + c] *= 3 * std::sqrt(2.0) / norm;
    }
  }
  ExpectNear(AllRows(head, Config(FeatureKind::kSoftmax, false)).values, scaled, 1e-14);
}

TEST(ReferenceAttention, ZeroVectorsStayZero) {
  HeadData head(3, 4, 6);
  std::fill(head.q.begin(), head.q.end(), 0);
  std::fill(head.k.begin(), head.k.end(), 0);
  for (const FeatureKind kind : kAllKinds) {
    const ReferenceRows rows = AllRows(head, Config(kind), NoBias);
    for (int64_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(rows.values[c], (head.v[c] + head.v[4 + c] + head.v[8 + c]) / 3, 1e-14);
    }
  }
}

TEST(ReferenceAttention, StabilisersKeepLargeVectorsFinite) {
  const HeadData head(6, 4, 16, 60);
  for (const FeatureKind kind : {FeatureKind::kPrf, FeatureKind::kSphere, FeatureKind::kSoftmax}) {
    for (const double value : AllRows(head, Config(kind, false)).values) {
      EXPECT_TRUE(std::isfinite(value));
    }
  }
}

TEST(ReferenceAttention, LargeBiasesKeepEveryRowFinite) {
  const HeadData head(6, 4, 8);
  const auto steep = [](int64_t offset) { return 500.0 * offset; };
  for (const FeatureKind kind : kAllKinds) {
    const ReferenceRows rows = ReferenceAttention(head.view(), Config(kind), steep, 0, 6);
    for (int64_t i = 0; i < 6; ++i) EXPECT_NEAR(rows.values[i * 4], head.v[5 * 4], 1e-12);
  }
}

TEST(ReferenceAttention, MagnitudesShowWhichDenominatorsCancel) {
  const HeadData head(6, 4, 8);
  const ReferenceRows positive = AllRows(head, Config(FeatureKind::kPrf));
  ExpectNear(positive.magnitudes, positive.denominators, 1e-14);
  const ReferenceRows mixed = AllRows(head, Config(FeatureKind::kTrf));
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_GT(mixed.magnitudes[i], 1.01 * std::abs(mixed.denominators[i]));
  }
}

}  // namespace
}  // namespace longwave
