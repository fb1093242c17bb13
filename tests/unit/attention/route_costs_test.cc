#include "model/attention/route_costs.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

TEST(RouteCostsTest, TheBuiltInTextParses) {
  const absl::StatusOr<RouteCosts> costs = ParseRouteCosts(BuiltInRouteCostsText());
  ASSERT_TRUE(costs.ok()) << costs.status();
  EXPECT_EQ(costs->cpu.tiles.gflops, BuiltInRouteCosts().cpu.tiles.gflops);
}

TEST(RouteCostsTest, SaysEveryProblemAtOnce) {
  const std::string text = absl::StrReplaceAll(
      BuiltInRouteCostsText(),
      {{"\"tiles\"", "\"slates\""}, {"\"schema_version\": 1", "\"schema_version\": 2"}});
  const absl::Status refused = ParseRouteCosts(text).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"schema_version", "slates", "tiles"}) {
    EXPECT_THAT(std::string(refused.message()), HasSubstr(part));
  }
}

TEST(RouteCostsTest, RefusesChannelsOutOfOrder) {
  for (const char* points : {"[]", "[[1024, 5], [1024, 6]]", "[[2048, 5], [1024, 6]]", "[[0, 5]]",
                             "[[1024, 0]]", "[[1024]]", "[1024, 5]"}) {
    std::string text(BuiltInRouteCostsText());
    const size_t key = text.find("\"fp32\": ") + 8;
    text.replace(key, text.find("\n", key) - key, std::string(points) + ",");
    EXPECT_THAT(std::string(ParseRouteCosts(text).status().message()), HasSubstr("fp32")) << points;
  }
}

TEST(RouteCostsTest, ChannelsAreLinearInTheLogarithmOfTheLength) {
  const std::vector<ChannelCost> points = {{1024, 4}, {4096, 8}};
  EXPECT_DOUBLE_EQ(SecondsPerToken(points, 1), 4e-9);
  EXPECT_DOUBLE_EQ(SecondsPerToken(points, 1024), 4e-9);
  EXPECT_DOUBLE_EQ(SecondsPerToken(points, 2048), 6e-9);
  EXPECT_DOUBLE_EQ(SecondsPerToken(points, 4096), 8e-9);
  EXPECT_DOUBLE_EQ(SecondsPerToken(points, 1 << 20), 8e-9);
}

}  // namespace
}  // namespace longwave
