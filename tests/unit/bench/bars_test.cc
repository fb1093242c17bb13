#include "tests/bench/bars.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

namespace longwave {
namespace {

TEST(BarsTest, NamesAreUnique) {
  std::set<std::string> names;
  for (const auto* bars : {&AttentionBars(), &EncoderBars()}) {
    for (const Bar& bar : *bars) EXPECT_TRUE(names.insert(std::string(bar.name)).second);
  }
  EXPECT_EQ(names.size(), AttentionBars().size() + EncoderBars().size());
}

TEST(BarsTest, LimitsAreThoseThatWereSet) {
  EXPECT_EQ(FindBar("core_vs_sdpa_16k").limit, 28);
  EXPECT_EQ(FindBar("core_vs_floor_16k").limit, 1.7);
  EXPECT_EQ(FindBar("core_vs_sdpa_mask_4k").limit, 8);
  EXPECT_EQ(FindBar("core_vs_sdpa_1k").limit, 1.6);
  EXPECT_EQ(FindBar("core_vs_textbook_fft_4k").limit, 120);
  EXPECT_EQ(FindBar("core_linear").limit, 1.15);
  EXPECT_EQ(FindBar("tiles_vs_floor_1k_m64").limit, 1.3);
  EXPECT_EQ(FindBar("tiles_vs_sdpa_1k_m32").limit, 1.1);
  EXPECT_EQ(FindBar("tiles_vs_sdpa_1k_m64").limit, 0.85);
  EXPECT_EQ(FindBar("log_buckets_vs_clipped_64k").limit, 4.5);
  EXPECT_EQ(FindBar("fft_vs_textbook_64k").limit, 5);
  EXPECT_EQ(FindBar("fft_memory_vs_textbook_64k").limit, 0.05);
  EXPECT_EQ(FindBar("interpolation_vs_tiles_64k").limit, 20);
  EXPECT_EQ(FindBar("encoder_vs_softmax_8k").limit, 4.0);
  EXPECT_EQ(FindBar("encoder_roof_8k").limit, 0.8);
  EXPECT_EQ(FindBar("encoder_vs_softmax_512").limit, 1.0);
  EXPECT_EQ(FindBar("softmax_twin_vs_nn_512").limit, 0.95);
}

TEST(BarsTest, DirectionDecides) {
  const Bar& at_least = FindBar("core_vs_sdpa_16k");
  EXPECT_TRUE(Passes(at_least, 28));
  EXPECT_FALSE(Passes(at_least, 27.9));
  const Bar& at_most = FindBar("core_vs_floor_16k");
  EXPECT_TRUE(Passes(at_most, 1.7));
  EXPECT_FALSE(Passes(at_most, 1.71));
}

TEST(BarsTest, NoNumberDoesNotPass) {
  const double none = std::numeric_limits<double>::quiet_NaN();
  for (const auto* bars : {&AttentionBars(), &EncoderBars()}) {
    for (const Bar& bar : *bars) EXPECT_FALSE(Passes(bar, none)) << std::string(bar.name);
  }
}

TEST(BarsTest, JsonHasAllFields) {
  BarResult result = {.bar = &FindBar("core_vs_sdpa_16k"),
                      .value = 30,
                      .samples = {{"ours", 0.11, {0.1, 0.1, 0.2}}, {"sdpa", 3, {3, 3}}},
                      .error = 1e-6,
                      .reference = "dense double"};
  result.details["n"] = 16384;
  const nlohmann::ordered_json line = ToJson(result);
  EXPECT_EQ(line["bar"], "core_vs_sdpa_16k");
  EXPECT_EQ(line["value"], 30);
  EXPECT_EQ(line["limit"], 28);
  EXPECT_EQ(line["direction"], ">=");
  EXPECT_EQ(line["pass"], true);
  EXPECT_EQ(line["repeats"], 2);  // of the contender that was run least
  EXPECT_EQ(line["error"], 1e-6);
  EXPECT_EQ(line["seconds"]["ours"], 0.1);
  EXPECT_EQ(line["seconds"]["sdpa"], 3);
  EXPECT_EQ(line["warm_up_seconds"]["ours"], 0.11);
  EXPECT_NEAR(line["disagreement"].get<double>(), 0.5, 1e-9);
  EXPECT_EQ(line["n"], 16384);
}

TEST(BarsTest, ASingleRunHasNoDisagreement) {
  const BarResult result = {.bar = &FindBar("fft_vs_textbook_64k"),
                            .value = 6,
                            .samples = {{"ours", 1, {5}}, {"textbook_fft", 2, {30}}}};
  const nlohmann::ordered_json line = ToJson(result);
  EXPECT_EQ(line["repeats"], 1);
  EXPECT_TRUE(line["disagreement"].is_null());
  EXPECT_TRUE(line.contains("note"));
}

TEST(BarsTest, AMissingValueIsNull) {
  const BarResult result = {.bar = &FindBar("interpolation_vs_tiles_64k"), .value = std::nan("")};
  const nlohmann::ordered_json line = ToJson(result);
  EXPECT_TRUE(line["value"].is_null());
  EXPECT_EQ(line["pass"], false);
  EXPECT_EQ(line["repeats"], 0);
}

}  // namespace
}  // namespace longwave
