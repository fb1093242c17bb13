#include "model/attention/bucket_layout.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/attention/bias_weights.h"

namespace longwave {
namespace {

// 64 features of 64 columns.
constexpr int64_t kKeyBytes = 128 * 4;
constexpr int64_t kStateBytes = 4160 * 4;

ToeplitzWeights Buckets(int64_t max_distance, bool causal = false) {
  const BiasConfig bias = {.kind = BiasKind::kT5, .max_distance = max_distance};
  std::vector<float> values(32);
  for (int64_t b = 0; b < 32; ++b) values[b] = static_cast<float>(b) / 16;
  return ToeplitzWeights(
      *RelativeBias::Create(BiasModel(bias, 1, causal, 1 << 20), BiasTensor({1, 32}, values), 0),
      causal, 1 << 20);
}

// Every key is a tile's or a run's, once, and a run's only where c is its value for every query of
// the block.
void CheckBlocks(const ToeplitzWeights& weights, int64_t n, int64_t state_bytes = kStateBytes) {
  const BucketLayout layout(weights.structure(0), weights.causal(), n, kKeyBytes, state_bytes);
  for (int64_t block = 0; block < layout.blocks(); ++block) {
    const int64_t row = block * BucketLayout::kRows;
    const int64_t last = std::min(row + BucketLayout::kRows, n) - 1;
    std::vector<int> seen(n + layout.stride(), 0);
    layout.Visit(
        block,
        [&](BucketLayout::Keys keys) {
          ASSERT_LT(keys.begin, keys.end);
          ASSERT_EQ(keys.begin % BucketLayout::kGroup, 0);
          ASSERT_LE(keys.end, n + BucketLayout::kGroup);
          for (int64_t key = keys.begin; key < keys.end; ++key) ++seen[key];
        },
        [&](BucketLayout::Keys keys, double log_value) {
          ASSERT_LT(keys.begin, keys.end);
          ASSERT_EQ(keys.begin % layout.stride(), 0);
          ASSERT_EQ(keys.end % layout.stride(), 0);
          for (int64_t key = keys.begin; key < keys.end; ++key) {
            ++seen[key];
            if (key >= n) continue;
            ASSERT_EQ(weights.Log(0, key - row), log_value) << n << " " << row << " " << key;
            ASSERT_EQ(weights.Log(0, key - last), log_value) << n << " " << row << " " << key;
          }
        });
    const int64_t end = weights.causal() ? last + 1 : n;
    for (int64_t key = 0; key < end; ++key)
      ASSERT_EQ(seen[key], 1) << n << " " << row << " " << key;
  }
}

TEST(BucketLayoutTest, VisitsEveryKeyOnceAndRunsOnlyWhereTheyHold) {
  for (const bool causal : {false, true}) {
    for (const int64_t n : {1, 15, 47, 48, 49, 500, 1000, 4095, 4096, 4097, 9001}) {
      CheckBlocks(Buckets(65536, causal), n);
      CheckBlocks(Buckets(128, causal), n);
    }
  }
}

TEST(BucketLayoutTest, AcceptsRunsBetweenNoise) {
  const auto bias = [](int64_t o) {
    const int64_t distance = std::abs(o);
    if (distance >= 300 && distance < 900) return o < 0 ? 0.5 : 0.25;
    return distance < 2000 ? std::sin(13.0 * static_cast<double>(o)) : -1.0;
  };
  CheckBlocks(TableWeights(5000, false, bias), 5000);
  CheckBlocks(TableWeights(5000, true, bias), 4999);
}

// A coarser grid of prefix sums holds the memory and stays exact.
TEST(BucketLayoutTest, StridesGrowWithTheMemoryOfPrefixes) {
  const ToeplitzWeights weights = Buckets(65536);
  const auto stride = [&](int64_t n) {
    return BucketLayout(weights.structure(0), false, n, kKeyBytes, kStateBytes).stride();
  };
  EXPECT_EQ(stride(16384), 16);
  EXPECT_EQ(stride(65536), 32);
  EXPECT_EQ(stride(1 << 20), 64);
  CheckBlocks(weights, 9001, int64_t{1} << 20);
}

// 16 buckets a side that reach 65536: the tiles beside their boundaries hardly grow with n.
TEST(BucketLayoutTest, TilesGrowWithBoundariesAndNotWithLength) {
  const ToeplitzWeights weights = Buckets(65536);
  const BucketLayout short_layout(weights.structure(0), false, 4096, kKeyBytes, kStateBytes);
  const BucketLayout long_layout(weights.structure(0), false, 65536, kKeyBytes, kStateBytes);
  EXPECT_LT(long_layout.tile_keys(), 1000);
  EXPECT_LT(long_layout.tile_keys(), 2 * short_layout.tile_keys());
  EXPECT_LT(long_layout.sums(), 12.5);
  const ToeplitzWeights noise =
      TableWeights(4096, false, [](int64_t o) { return std::sin(13.0 * static_cast<double>(o)); });
  EXPECT_EQ(BucketLayout(noise.structure(0), false, 4096, kKeyBytes, kStateBytes).tile_keys(),
            4096);
}

}  // namespace
}  // namespace longwave
