#include "tests/bench/cost_fit.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(FitMethodCostTest, FindsTheLine) {
  const MethodCost line = {.gflops = 80, .head_microseconds = 30};
  const MethodCost fitted = FitMethodCost({1e6, line.Seconds(1e6)}, {1e9, line.Seconds(1e9)});
  EXPECT_NEAR(fitted.gflops, 80, 1e-9);
  EXPECT_NEAR(fitted.head_microseconds, 30, 1e-6);
}

TEST(FitMethodCostTest, NeverBeginsBelowZero) {
  // Twice the operations in four times the time.
  const MethodCost fitted = FitMethodCost({1e9, 1}, {2e9, 4});
  EXPECT_EQ(fitted.head_microseconds, 0);
  EXPECT_NEAR(fitted.gflops, 0.5, 1e-12);
}

TEST(FitMethodCostTest, NoiseThatTurnsTheLineRoundGivesTheLargeOnesRate) {
  const MethodCost fitted = FitMethodCost({1e6, 2}, {1e9, 1});
  EXPECT_NEAR(fitted.gflops, 1, 1e-12);
  EXPECT_EQ(fitted.head_microseconds, 0);
}

TEST(WithCpuCostsTest, WhatIsMeasuredIsReadBackAndTheRestStays) {
  const std::string text(BuiltInRouteCostsText());
  DeviceCosts costs = BuiltInRouteCosts().cpu;
  costs.tiles = {.gflops = 77, .head_microseconds = 1.5};
  costs.fft_fp32 = {{1024, 2}, {4096, 3}};
  const std::string changed = WithCpuCosts(text, costs, "a test");
  const auto parsed = ParseRouteCosts(changed);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->cpu.tiles.gflops, 77);
  EXPECT_EQ(parsed->cpu.tiles.head_microseconds, 1.5);
  ASSERT_EQ(parsed->cpu.fft_fp32.size(), 2);
  EXPECT_EQ(parsed->cpu.fft_fp32[1].nanoseconds_per_token, 3);
  EXPECT_EQ(parsed->cpu.buckets.gflops, BuiltInRouteCosts().cpu.buckets.gflops);
  EXPECT_EQ(parsed->cuda.tiles.gflops, BuiltInRouteCosts().cuda.tiles.gflops);
  EXPECT_NE(changed.find("a test"), std::string::npos);
  EXPECT_NE(changed.find("40000"), std::string::npos);
  // Written again it is the same file.
  EXPECT_EQ(WithCpuCosts(changed, parsed->cpu, "a test"), changed);
}

}  // namespace
}  // namespace longwave
