#include "server/flag_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Fields {
  std::string text = "default";
  int count = 1;
  int64_t large = 2;
  double seconds = 3.5;
  bool on = true;
  bool off = false;
  std::optional<bool> maybe;
  std::optional<double> delay;
};

class FlagTableTest : public ::testing::Test {
 protected:
  FlagTableTest() {
    table_.Add("some_text", &fields_.text, "a text");
    table_.Add("count", &fields_.count, "a count");
    table_.Add("large", &fields_.large, "a large count");
    table_.Add("seconds", &fields_.seconds, "a time");
    table_.Add("on", &fields_.on, "a switch");
    table_.Add("off", &fields_.off, "another");
    table_.Add("maybe", &fields_.maybe, "it depends", "a third");
    table_.Add("delay", &fields_.delay, "it depends", "a delay");
  }

  Fields fields_;
  FlagTable table_;
};

TEST_F(FlagTableTest, SetsFieldsInEveryForm) {
  EXPECT_THAT(table_.Parse({"--some-text=a=b", "--count", "7", "--large=-9000000000",
                            "--seconds=1e3", "--no-on", "--off", "--maybe=false", "--delay=0"}),
              IsEmpty());
  EXPECT_EQ(fields_.text, "a=b");
  EXPECT_EQ(fields_.count, 7);
  EXPECT_EQ(fields_.large, -9'000'000'000);
  EXPECT_EQ(fields_.seconds, 1000);
  EXPECT_FALSE(fields_.on);
  EXPECT_TRUE(fields_.off);
  EXPECT_EQ(fields_.maybe, std::optional<bool>(false));
  EXPECT_EQ(fields_.delay, std::optional<double>(0));
}

TEST_F(FlagTableTest, NothingGivenChangesNothing) {
  EXPECT_THAT(table_.Parse({}), IsEmpty());
  EXPECT_EQ(fields_.text, "default");
  EXPECT_TRUE(fields_.on);
  EXPECT_FALSE(fields_.maybe.has_value());
}

TEST_F(FlagTableTest, CollectsEveryProblem) {
  EXPECT_THAT(
      table_.Parse({"word", "--", "--unknown=1", "--no-count", "--count=x", "--large=1.5",
                    "--seconds=nan", "--on=perhaps", "--off", "--off", "--some_text"}),
      ElementsAre(HasSubstr("'word' is not a flag"), HasSubstr("'--' is not a flag"),
                  HasSubstr("--unknown: unknown flag"), HasSubstr("--no-count: unknown flag"),
                  HasSubstr("--count = 'x'"), HasSubstr("--large = '1.5'"),
                  HasSubstr("--seconds = 'nan'"), HasSubstr("--on = 'perhaps'"),
                  HasSubstr("--off: given more than once"), HasSubstr("--some_text: no value")));
}

TEST_F(FlagTableTest, NumbersOutOfRangeAreProblems) {
  EXPECT_THAT(table_.Parse({"--count=3000000000"}), ElementsAre(HasSubstr("--count")));
}

TEST_F(FlagTableTest, HelpShowsNamesDefaultsAndTexts) {
  const std::string help = table_.Help();
  EXPECT_THAT(help, HasSubstr("--some_text=TEXT  (default)\n      a text\n"));
  EXPECT_THAT(help, HasSubstr("--on  (true)"));
  EXPECT_THAT(help, HasSubstr("--maybe  (it depends)"));
}

}  // namespace
}  // namespace longwave
