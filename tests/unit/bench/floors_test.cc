#include "tests/bench/floors.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

// Figures of the cost models in the performance study.
TEST(FloorsTest, ChunkwiseAtBlock64AndBand128) {
  EXPECT_DOUBLE_EQ(ChunkwiseFlops({64, 64}, 128), 115584);
}

TEST(FloorsTest, ChunkwiseAtBlock128) {
  EXPECT_NEAR(ChunkwiseFlops({64, 32}, 128, 128), 91e3, 0.5e3);
  EXPECT_NEAR(ChunkwiseFlops({64, 64}, 128, 128), 132e3, 0.5e3);
  EXPECT_NEAR(ChunkwiseFlops({64, 128}, 128, 128), 214e3, 0.5e3);
}

TEST(FloorsTest, BandIsRoundedUpToBlocks) {
  EXPECT_EQ(ChunkwiseFlops({64, 64}, 65), ChunkwiseFlops({64, 64}, 128));
  EXPECT_LT(ChunkwiseFlops({64, 64}, 64), ChunkwiseFlops({64, 64}, 65));
  // No band: the block itself.
  EXPECT_DOUBLE_EQ(ChunkwiseFlops({64, 64}, 0), 2.0 * 64 * 129 + 4.0 * 64 * 65 + 4.0 * 64 * 64);
}

TEST(FloorsTest, TilesGrowWithTheSequence) {
  EXPECT_DOUBLE_EQ(TilesFlops({64, 64}, 1024), 2.0 * 1024 * 129 + 4.0 * 64 * 64);
  EXPECT_DOUBLE_EQ(TilesFlops({64, 32}, 1024), 2.0 * 1024 * 97 + 4.0 * 64 * 32);
}

TEST(FloorsTest, SoftmaxAndFft) {
  EXPECT_NEAR(SoftmaxFlops(64, 16384), 4.2e6, 0.05e6);
  EXPECT_NEAR(FftFlops({64, 64}, 16384), 0.66e6, 0.03e6);
  // 12 heads at 64 k in GB.
  EXPECT_NEAR(12 * TextbookFftBytes({64, 64}, 65536) / 1e9, 92, 1);
}

TEST(FloorsTest, EncoderOfTheBars) {
  const EncoderShape shape;
  EXPECT_EQ(shape.hidden(), 384);
  EXPECT_NEAR(DenseFlops(shape) / 1e6, 21.2, 0.05);
  EXPECT_NEAR(EncoderFlops(shape, 128) / 1e6, 24.8, 0.05);
}

}  // namespace
}  // namespace longwave
