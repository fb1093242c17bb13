#include "model/attention/feature_map.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cmath>

#include "gtest/gtest.h"
#include "tests/property/attention_cases.h"

namespace longwave {
namespace {

class FeatureMapTest : public ::testing::Test {
 protected:
  static AttentionCase Case(FeatureKind kind, bool qk_norm = true, double scale = 1) {
    AttentionConfig attention;
    attention.features = kind;
    attention.qk_norm = qk_norm;
    attention.scale = scale;
    return MakeCase({.name = "features", .attention = attention});
  }
  static BoundFeatures Bound(const AttentionCase& which, at::ScalarType type = at::kDouble) {
    return FeatureMap::Create(which.config, which.weights, 0, at::kCPU)->Bind({0, 1}, type);
  }
  // [heads, rows, head_dim].
  static at::Tensor Rows(const AttentionCase& which, int64_t rows, double scale = 1) {
    return RandomInput(which.config, rows, 3).q.transpose(0, 1).to(at::kDouble).contiguous() *
           scale;
  }
  static double Largest(const at::Tensor& difference) {
    return at::max(difference.abs()).item<double>();
  }

 private:
  const c10::InferenceMode inference_;
};

TEST_F(FeatureMapTest, PrfIsTheFormula) {
  const AttentionCase which = Case(FeatureKind::kPrf, true, 1.5);
  const at::Tensor rows = Rows(which, 5);
  const at::Tensor phi = Bound(which).Queries(rows);
  ASSERT_EQ(phi.sizes(), (std::vector<int64_t>{2, 5, 24}));
  const std::vector<float>& w = which.weights.find("layers.0.attention.projection")->second.values;
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t i = 0; i < 5; ++i) {
      const at::Tensor x = rows[h][i] * (1.5 / at::norm(rows[h][i]).item<double>());
      for (int64_t r = 0; r < 24; ++r) {
        double angle = 0;
        for (int64_t c = 0; c < 16; ++c) angle += w[(h * 24 + r) * 16 + c] * x[c].item<double>();
        EXPECT_NEAR(phi[h][i][r].item<double>(), std::exp(angle - 1.125) / std::sqrt(24.0), 1e-12);
      }
    }
  }
}

TEST_F(FeatureMapTest, ZeroRowsStayZeroAndExtremeRowsStayFinite) {
  const AttentionCase which = Case(FeatureKind::kPrf);
  const BoundFeatures features = Bound(which, at::kFloat);
  const at::Tensor zero = features.Queries(at::zeros({2, 32, 16}));
  EXPECT_LT(Largest(zero - 1 / std::sqrt(24.0)), 1e-7);
  // Squares of these overflow or vanish in a float.
  const at::Tensor unit = features.Queries(Rows(which, 32).to(at::kFloat));
  EXPECT_LT(Largest(features.Queries(Rows(which, 32, 1e25).to(at::kFloat)) / unit - 1), 1e-5);
  EXPECT_LT(Largest(features.Queries(Rows(which, 32, 1e-30).to(at::kFloat)) / unit - 1), 1e-5);
}

TEST_F(FeatureMapTest, TrigonometricFeaturesHaveTheKernelsNorm) {
  // sin^2 + cos^2 = 1 in every pair, so |phi(x)|^2 = exp(|x|^2) exactly.
  const at::Tensor phi =
      Bound(Case(FeatureKind::kTrf, true, 1.5)).Queries(Rows(Case(FeatureKind::kTrf), 7));
  ASSERT_EQ(phi.size(2), 48);
  EXPECT_LT(Largest(at::sum(phi.square(), {-1}) - std::exp(2.25)), 1e-12);
}

TEST_F(FeatureMapTest, EluPlusOneKeepsItsDigitsFarBelowZero) {
  const AttentionCase which = Case(FeatureKind::kElu, /*qk_norm=*/false);
  at::Tensor rows = at::zeros({2, 32, 16}, at::kFloat);
  rows.select(1, 0).fill_(2.0 * -20);  // x = q d^(-1/4) = q / 2
  rows.select(1, 1).fill_(2.0 * 3);
  const at::Tensor phi = Bound(which, at::kFloat).Queries(rows);
  ASSERT_EQ(phi.size(2), 16);
  EXPECT_NEAR(phi[0][0][0].item<double>() / std::exp(-20), 1, 1e-6);
  EXPECT_FLOAT_EQ(phi[0][1][0].item<float>(), 4);
}

TEST_F(FeatureMapTest, UnnormalisedFeaturesAreLoweredByMaximaThatCancel) {
  const AttentionCase which = Case(FeatureKind::kPrf, /*qk_norm=*/false);
  const BoundFeatures features = Bound(which);
  ASSERT_TRUE(features.stabilised());
  const at::Tensor rows = Rows(which, 9, 4.0);
  // Queries: every row's largest feature is 1 / sqrt(m).
  const at::Tensor queries = features.Queries(rows);
  EXPECT_LT(Largest(at::amax(queries, {-1}) * std::sqrt(24.0) - 1), 1e-12);
  // Keys: one factor for all of a head's rows.
  const at::Tensor keys = features.Keys(rows, features.KeyMaximum(rows));
  EXPECT_LT(Largest(at::amax(keys, {1, 2}) * std::sqrt(24.0) - 1), 1e-12);
  const at::Tensor ratio = keys / features.Keys(rows, at::zeros({2, 1, 1}, at::kDouble));
  EXPECT_LT(Largest(at::amax(ratio, {1, 2}) / at::amin(ratio, {1, 2}) - 1), 1e-10);
}

TEST_F(FeatureMapTest, SlicesAreColumns) {
  for (const FeatureKind kind : {FeatureKind::kPrf, FeatureKind::kElu}) {
    const AttentionCase which = Case(kind);
    const at::Tensor rows = Rows(which, 6);
    const at::Tensor all = Bound(which).Queries(rows);
    const at::Tensor slice = Bound(which).Slice(4, 8).Slice(1, 3).Queries(rows, {});
    EXPECT_LT(Largest(slice - all.narrow(2, 5, 3)), 1e-14);
  }
}

TEST_F(FeatureMapTest, BindsTheHeadsAskedFor) {
  const AttentionCase which = Case(FeatureKind::kPrf);
  const at::Tensor rows = Rows(which, 6);
  const FeatureMap map = *FeatureMap::Create(which.config, which.weights, 0, at::kCPU);
  const at::Tensor one = map.Bind({1}, at::kDouble).Queries(rows.narrow(0, 1, 1));
  EXPECT_LT(Largest(one - Bound(which).Queries(rows).narrow(0, 1, 1)), 1e-14);
}

TEST_F(FeatureMapTest, NamesAMissingProjection) {
  AttentionCase which = Case(FeatureKind::kPrf);
  which.weights.clear();
  const auto map = FeatureMap::Create(which.config, which.weights, 0, at::kCPU);
  EXPECT_EQ(map.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace longwave
