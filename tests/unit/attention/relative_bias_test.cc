#include "model/attention/relative_bias.h"

#include <limits>
#include <numeric>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/base/error.h"
#include "tests/unit/attention/bias_weights.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> Buckets(int64_t first, int64_t last, int64_t buckets, int64_t distance,
                             bool causal) {
  std::vector<int64_t> found;
  for (int64_t o = first; o <= last; ++o) found.push_back(T5Bucket(o, buckets, distance, causal));
  return found;
}

// 0, 1, 2, ... so that a value tells its column.
std::vector<float> Columns(int64_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

TEST(T5BucketTest, MatchesPublishedBuckets) {
  EXPECT_THAT(Buckets(-10, 9, 16, 8, /*causal=*/false),
              ElementsAre(7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11, 12, 13, 14, 15, 15, 15));
}

TEST(T5BucketTest, CausalLooksBackWithAllBuckets) {
  // 8 buckets: 0 to 3 one distance each, then boundaries at 4, 5.66, 8, 11.3; keys ahead share 0.
  EXPECT_THAT(Buckets(-16, 2, 8, 16, /*causal=*/true),
              ElementsAre(7, 7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 4, 4, 3, 2, 1, 0, 0, 0));
}

TEST(T5BucketTest, DistancesOnABoundaryTakeTheUpperBucket) {
  // 32 buckets to 128: beyond 8 the boundaries are 8 * 2^(k/2), whole at 16, 32 and 64.
  EXPECT_EQ(T5Bucket(-15, 32, 128, false), 9);
  EXPECT_EQ(T5Bucket(-16, 32, 128, false), 10);
  EXPECT_EQ(T5Bucket(-31, 32, 128, false), 11);
  EXPECT_EQ(T5Bucket(-32, 32, 128, false), 12);
  EXPECT_EQ(T5Bucket(-63, 32, 128, false), 13);
  EXPECT_EQ(T5Bucket(-64, 32, 128, false), 14);
  EXPECT_EQ(T5Bucket(1000000, 32, 128, false), 31);
}

TEST(RelativeBiasTest, NoneIsZeroEverywhere) {
  const auto bias = RelativeBias::Create(BiasModel({}, 2), {}, 0);
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_EQ(bias->heads(), 2);
  EXPECT_EQ(bias->At(1, 0), 0);
  EXPECT_EQ(bias->At(1, -100000), 0);
}

TEST(RelativeBiasTest, TableHoldsTheMostNegativeOffsetFirst) {
  const BiasConfig table = {.kind = BiasKind::kTable, .table_length = 3};
  const auto bias = RelativeBias::Create(BiasModel(table, 2), BiasTensor({2, 5}, Columns(10)), 0);
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_EQ(bias->At(0, -2), 0);
  EXPECT_EQ(bias->At(0, 0), 2);
  EXPECT_EQ(bias->At(0, 2), 4);
  EXPECT_EQ(bias->At(1, -1), 6);
}

TEST(RelativeBiasTest, TableRefusesOrClipsLongerSequences) {
  BiasConfig table = {.kind = BiasKind::kTable, .table_length = 3, .beyond = BeyondTable::kRefuse};
  const WeightMap weights = BiasTensor({1, 5}, Columns(5));
  EXPECT_EQ(RelativeBias::Create(BiasModel(table), weights, 0)->max_tokens(), 3);
  table.beyond = BeyondTable::kClip;
  const auto clipped = RelativeBias::Create(BiasModel(table), weights, 0);
  EXPECT_GT(clipped->max_tokens(), 1'000'000'000);
  EXPECT_EQ(clipped->At(0, -100), 0);
  EXPECT_EQ(clipped->At(0, 100), 4);
}

TEST(RelativeBiasTest, ClippedIsFlatBeyondItsDistance) {
  const BiasConfig clipped = {.kind = BiasKind::kClipped, .max_distance = 2};
  const auto bias = RelativeBias::Create(BiasModel(clipped), BiasTensor({1, 5}, Columns(5)), 0);
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_EQ(bias->At(0, -1), 1);
  EXPECT_EQ(bias->At(0, -2), 0);
  EXPECT_EQ(bias->At(0, -3), 0);
  EXPECT_EQ(bias->At(0, 7), 4);
}

TEST(RelativeBiasTest, AlibiFallsWithItsSlopeOnBothSides) {
  const BiasConfig alibi = {.kind = BiasKind::kAlibi};
  const auto bias = RelativeBias::Create(BiasModel(alibi, 2), BiasTensor({2}, {0.5F, 0.25F}), 0);
  ASSERT_TRUE(bias.ok()) << bias.status();
  EXPECT_EQ(bias->At(0, -3), -1.5);
  EXPECT_EQ(bias->At(0, 3), -1.5);
  EXPECT_EQ(bias->At(1, 1000000), -250000);
}

TEST(RelativeBiasTest, ReadsTheLayersOwnTensorUnlessShared) {
  BiasConfig clipped = {.kind = BiasKind::kClipped, .shared_layers = false, .max_distance = 1};
  WeightMap weights;
  weights["layers.1.attention.bias"] = {{1, 3}, {1, 2, 3}};
  EXPECT_EQ(RelativeBias::Create(BiasModel(clipped), weights, 1)->At(0, 0), 2);
  EXPECT_FALSE(RelativeBias::Create(BiasModel(clipped), weights, 0).ok());
}

TEST(RelativeBiasTest, NamesATensorThatDoesNotFit) {
  const BiasConfig t5 = {.kind = BiasKind::kT5};
  const auto missing = RelativeBias::Create(BiasModel(t5), {}, 0);
  EXPECT_THAT(missing.status().message(), HasSubstr("attention_bias is missing"));
  const auto wrong = RelativeBias::Create(BiasModel(t5), BiasTensor({1, 31}, Columns(31)), 0);
  EXPECT_THAT(wrong.status().message(), HasSubstr("31 values, expected 32"));
  std::vector<float> values = Columns(32);
  values[3] = std::numeric_limits<float>::quiet_NaN();
  const auto bad = RelativeBias::Create(BiasModel(t5), BiasTensor({1, 32}, values), 0);
  EXPECT_THAT(bad.status().message(), HasSubstr("not finite"));
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace longwave
