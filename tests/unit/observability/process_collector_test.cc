#include "server/observability/process_collector.h"

#include <gtest/gtest.h>

#include <string>

namespace longwave {
namespace {

// Fields 3 to 24 of proc(5), each holding its own number times ten.
std::string StatText(const std::string& name) {
  std::string text = "1234 (" + name + ") S";
  for (int number = 4; number <= 52; ++number) {
    text.append(" ").append(std::to_string(number * 10));
  }
  return text + "\n";
}

TEST(ParseProcessStatTest, TakesTheRightFieldsWhateverTheProgramIsCalled) {
  for (const char* name : {"longwave-server", "a b", "a) S 1 2 (b", "", "((("}) {
    const auto stat = ParseProcessStat(StatText(name));
    ASSERT_TRUE(stat.has_value()) << name;
    EXPECT_EQ(stat->user_ticks, 140);
    EXPECT_EQ(stat->system_ticks, 150);
    EXPECT_EQ(stat->threads, 200);
    EXPECT_EQ(stat->start_ticks, 220);
    EXPECT_EQ(stat->virtual_bytes, 230);
    EXPECT_EQ(stat->resident_pages, 240);
  }
}

TEST(ParseProcessStatTest, RefusesWhatIsCutOff) {
  EXPECT_FALSE(ParseProcessStat("").has_value());
  EXPECT_FALSE(ParseProcessStat("1234 (name").has_value());
  EXPECT_FALSE(ParseProcessStat("1234 (name)").has_value());
  EXPECT_FALSE(ParseProcessStat(StatText("name").substr(0, 60)).has_value());
}

}  // namespace
}  // namespace longwave
