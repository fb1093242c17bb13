#include "model/reference/bias.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

BiasConfig T5(int64_t buckets, int64_t max_distance) {
  BiasConfig bias;
  bias.kind = BiasKind::kT5;
  bias.num_buckets = buckets;
  bias.max_distance = max_distance;
  return bias;
}

std::vector<int64_t> Buckets(int64_t first, int64_t last, const BiasConfig& bias, bool causal) {
  std::vector<int64_t> buckets;
  for (int64_t o = first; o <= last; ++o) buckets.push_back(ReferenceT5Bucket(o, bias, causal));
  return buckets;
}

// The published values for 16 buckets and distance 8 at key minus query = -10 .. 9: keys after the
// query take the upper half.
TEST(ReferenceT5Bucket, BothDirections) {
  EXPECT_THAT(
      Buckets(-10, 9, T5(16, 8), false),
      testing::ElementsAre(7, 7, 7, 7, 6, 5, 4, 3, 2, 1, 0, 9, 10, 11, 12, 13, 14, 15, 15, 15));
}

TEST(ReferenceT5Bucket, CausalBucketsAllLookBack) {
  EXPECT_THAT(Buckets(-18, 2, T5(8, 16), true),
              testing::ElementsAre(7, 7, 7, 7, 7, 7, 7, 6, 6, 6, 6, 5, 5, 4, 4, 3, 2, 1, 0, 0, 0));
}

// Boundaries that exact arithmetic puts on an integer: 8 * 16^(k/8) for even k.
TEST(ReferenceT5Bucket, BoundariesBelongToTheUpperBucket) {
  const BiasConfig bias = T5(32, 128);
  const std::pair<int64_t, int64_t> starts[] = {{8, 8},   {16, 10},  {32, 12},
                                                {64, 14}, {128, 15}, {1000000, 15}};
  for (const auto& [distance, bucket] : starts) {
    EXPECT_EQ(ReferenceT5Bucket(-distance, bias, false), bucket) << distance;
    EXPECT_EQ(ReferenceT5Bucket(distance, bias, false), bucket + 16) << distance;
  }
  EXPECT_EQ(ReferenceT5Bucket(-15, bias, false), 9);
  EXPECT_EQ(ReferenceT5Bucket(-63, bias, false), 13);
  EXPECT_EQ(ReferenceT5Bucket(-90, bias, false), 14);
  EXPECT_EQ(ReferenceT5Bucket(-91, bias, false), 15);
}

class ReferenceBiasTest : public testing::Test {
 protected:
  ReferenceBiasTest() {
    config_.num_layers = 2;
    config_.num_heads = 2;
  }
  void Store(BiasKind kind, std::vector<float> values) {
    config_.attention.bias.kind = kind;
    const std::string name =
        config_.attention.bias.shared_layers ? "attention_bias" : "layers.1.attention.bias";
    weights_[name] = WeightTensor{{2, static_cast<int64_t>(values.size()) / 2}, values};
  }
  double At(int64_t head, int64_t offset) {
    return ReferenceBias(config_, weights_, 1, head, offset);
  }

  ModelConfig config_;
  WeightMap weights_;
};

TEST_F(ReferenceBiasTest, NoneIsZero) { EXPECT_EQ(At(1, -7), 0); }

TEST_F(ReferenceBiasTest, TableStartsAtTheMostNegativeOffset) {
  Store(BiasKind::kTable, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  EXPECT_EQ(At(0, -2), 1);
  EXPECT_EQ(At(0, 0), 3);
  EXPECT_EQ(At(0, 2), 5);
  EXPECT_EQ(At(1, 1), 9);
  EXPECT_EQ(At(1, 50), 10) << "clipped beyond the table";
}

TEST_F(ReferenceBiasTest, ClippedTakesTheOutermostBeyond) {
  config_.attention.bias.shared_layers = false;
  Store(BiasKind::kClipped, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(At(0, -9), 1);
  EXPECT_EQ(At(0, 0), 2);
  EXPECT_EQ(At(1, 9), 6);
}

TEST_F(ReferenceBiasTest, T5LooksUpTheBucket) {
  config_.attention.bias = T5(4, 8);
  Store(BiasKind::kT5, {10, 11, 12, 13, 20, 21, 22, 23});
  EXPECT_EQ(At(0, 0), 10);
  EXPECT_EQ(At(0, -5), 11);
  EXPECT_EQ(At(1, 1), 23);
}

TEST_F(ReferenceBiasTest, AlibiFallsWithDistance) {
  Store(BiasKind::kAlibi, {0.5, 0.25});
  EXPECT_EQ(At(0, 0), 0);
  EXPECT_EQ(At(0, -4), -2);
  EXPECT_EQ(At(1, 4), -1);
}

}  // namespace
}  // namespace longwave
