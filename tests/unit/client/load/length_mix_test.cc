#include "client/load/length_mix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

namespace longwave::load {
namespace {

constexpr int kDraws = 20000;

std::vector<uint32_t> Draw(const std::string& text) {
  const auto mix = LengthMix::Parse(text);
  EXPECT_TRUE(mix.ok()) << text << ": " << mix.status();
  if (!mix.ok()) return {};
  Random random(11);
  std::vector<uint32_t> tokens;
  for (int i = 0; i < kDraws; ++i) tokens.push_back(mix->Draw(random));
  for (const uint32_t drawn : tokens) EXPECT_LE(drawn, mix->longest());
  return tokens;
}

// Five standard deviations of a share: a fixed seed makes it repeatable, this makes it likely.
void ExpectShare(const std::vector<uint32_t>& tokens, uint32_t wanted, double share) {
  const double found =
      static_cast<double>(std::count(tokens.begin(), tokens.end(), wanted)) / kDraws;
  EXPECT_NEAR(found, share, 5 * std::sqrt(share * (1 - share) / kDraws)) << wanted;
}

TEST(LengthMixTest, OneLengthIsAlwaysThat) {
  const auto tokens = Draw("512");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), 512u), kDraws);
}

TEST(LengthMixTest, WeightsAreShares) {
  const auto tokens = Draw("128:8+4096:1+16:1");
  ExpectShare(tokens, 128, 0.8);
  ExpectShare(tokens, 4096, 0.1);
  ExpectShare(tokens, 16, 0.1);
}

TEST(LengthMixTest, BimodalIsNinetyFiveToFive) {
  const auto tokens = Draw("bimodal:128:8192");
  ExpectShare(tokens, 128, 0.95);
  ExpectShare(tokens, 8192, 0.05);
}

TEST(LengthMixTest, LogNormalHasItsMedianSpreadAndCut) {
  auto tokens = Draw("lognormal:500:1:2000");
  std::sort(tokens.begin(), tokens.end());
  EXPECT_NEAR(tokens[kDraws / 2], 500, 25);
  EXPECT_NEAR(tokens[kDraws * 0.1587], 500 * std::exp(-1.0), 15);  // one sigma below
  EXPECT_EQ(tokens.back(), 2000u);
  EXPECT_GE(tokens.front(), 1u);
}

TEST(LengthMixTest, UniformReachesBothEnds) {
  const auto tokens = Draw("uniform:3:7");
  for (uint32_t length = 3; length <= 7; ++length) ExpectShare(tokens, length, 0.2);
}

TEST(LengthMixTest, RefusesWhatItDoesNotUnderstandAndNamesTheForms) {
  for (const char* text : {"", "0", "-1", "1048577", "12:0", "12:x", "12:1:1", "bimodal:1", "a",
                           "bimodal:0:5", "lognormal:5", "lognormal:0:1", "lognormal:5:1:0",
                           "uniform:7:3", "uniform:1", "128:1+", "nan", "lognormal:5:inf"}) {
    const auto mix = LengthMix::Parse(text);
    ASSERT_FALSE(mix.ok()) << text;
    EXPECT_NE(mix.status().message().find("lognormal:MEDIAN:SIGMA"), std::string::npos);
  }
}

}  // namespace
}  // namespace longwave::load
