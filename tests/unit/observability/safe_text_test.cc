#include "server/observability/safe_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

bool IsUtf8(const std::string& text) {
  try {
    (void)nlohmann::json(text).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

TEST(SafeTextTest, KeepsValidText) {
  EXPECT_EQ(SafeText(""), "");
  EXPECT_EQ(SafeText("plain"), "plain");
  EXPECT_EQ(SafeText("\u00e4\u20ac\U0001F40B"), "\u00e4\u20ac\U0001F40B");
  EXPECT_EQ(SafeText(std::string(128, 'x')), std::string(128, 'x'));
}

TEST(SafeTextTest, ReplacesWhatIsNotUtf8) {
  const std::string bad = "\uFFFD";
  EXPECT_EQ(SafeText("\xff"), bad);
  EXPECT_EQ(SafeText("a\x80z"), "a" + bad + "z");
  EXPECT_EQ(SafeText("\xC0\x80"), bad + bad);                      // overlong
  EXPECT_EQ(SafeText("\xED\xA0\x80"), bad + bad + bad);            // surrogate
  EXPECT_EQ(SafeText("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // above U+10FFFF
  EXPECT_EQ(SafeText("\xE2\x82"), bad + bad);                      // cut off
}

TEST(SafeTextTest, CutsBetweenCharacters) {
  const std::string ellipsis = "\u2026";
  EXPECT_EQ(SafeText(std::string(129, 'x')), std::string(125, 'x') + ellipsis);
  // 42 characters of three bytes are 126: one more would not fit, and the ellipsis takes one's
  // place.
  std::string euros;
  for (int i = 0; i < 60; ++i) euros += "\u20ac";
  EXPECT_EQ(SafeText(euros), euros.substr(0, 41 * 3) + ellipsis);
  EXPECT_EQ(SafeText("abcd", 3), ellipsis);
}

TEST(SafeTextTest, AnyBytesGiveShortValidTextThatJsonReadsBack) {
  std::mt19937 random(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? 'a' : random());
    const std::string safe = SafeText(bytes);
    ASSERT_LE(safe.size(), kMaxShownBytes);
    ASSERT_TRUE(IsUtf8(safe));
    const std::string quoted = absl::StrCat("\"", JsonEscape(safe), "\"");
    ASSERT_EQ(nlohmann::json::parse(quoted).get<std::string>(), safe);
  }
}

TEST(JsonEscapeTest, EscapesWhatCouldLeaveTheLineOrSteerATerminal) {
  EXPECT_EQ(JsonEscape("\"\\\n\x1b"), "\\\"\\\\\\u000a\\u001b");
  EXPECT_EQ(JsonEscape(absl::string_view("\0", 1)), "\\u0000");
  EXPECT_EQ(JsonEscape("\x7f"), "\\u007f");
  EXPECT_EQ(JsonEscape("\u0085\u2028\u202e\u2066"), "\\u0085\\u2028\\u202e\\u2066");
  EXPECT_EQ(JsonEscape("\u00e4"), "\u00e4");
}

}  // namespace
}  // namespace longwave
