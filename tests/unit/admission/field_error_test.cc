#include "server/admission/field_error.h"

#include <string>

#include "gtest/gtest.h"

namespace longwave {
namespace {

TEST(IsUtf8, TakesShortestFormsOnly) {
  for (const char* good :
       {"", "a", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
        "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "na\xc3\xafve"}) {
    EXPECT_TRUE(IsUtf8(good)) << ShownText(good);
  }
  for (const char* bad :
       {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2\x7f", "\xe0\x9f\x80", "\xe1\x80",
        "\xed\xa0\x80", "\xf0\x8f\x80\x80", "\xf4\x90\x80\x80", "\xf1\x80\x80", "\xf5\x80\x80\x80",
        "\xff", "a\xe1\x80z"}) {
    EXPECT_FALSE(IsUtf8(bad)) << ShownText(bad);
  }
}

TEST(IsUtf8, ReadsNulAsACharacter) { EXPECT_TRUE(IsUtf8(absl::string_view("a\0b", 3))); }

TEST(ShownText, IsPrintableAndShort) {
  EXPECT_EQ(ShownText("plain"), "\"plain\"");
  EXPECT_EQ(ShownText("a\n\x1b[0m\"\\"), R"("a\n\x1b[0m\"\\")");
  EXPECT_EQ(ShownText(std::string(48, 'x')), "\"" + std::string(48, 'x') + "\"");
  EXPECT_EQ(ShownText(std::string(10000, 'x')), "\"" + std::string(48, 'x') + "...\"");
}

}  // namespace
}  // namespace longwave
