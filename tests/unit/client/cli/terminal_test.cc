#include "client/cli/terminal.h"

#include <gtest/gtest.h>

namespace longwave::cli {
namespace {

TEST(RenderScreenTest, ShowsWhatFits) {
  EXPECT_EQ(RenderScreen({"one", "two"}, 80, 24), "\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
  EXPECT_EQ(RenderScreen({"one", "two"}, 2, 1), "\x1b[Hon\x1b[K\x1b[J");
  EXPECT_EQ(RenderScreen({"one"}, 0, 0), "\x1b[H\x1b[J");
}

TEST(RenderScreenTest, CutsNoCharacter) {
  EXPECT_EQ(RenderScreen({"a\xC3\xA9z"}, 2, 1), "\x1b[Ha\x1b[K\x1b[J");
  EXPECT_EQ(RenderScreen({"a\xC3\xA9z"}, 3, 1), "\x1b[Ha\xC3\xA9\x1b[K\x1b[J");
}

TEST(RenderScreenTest, ObeysNoLine) {
  EXPECT_EQ(RenderScreen({"\x1b[2Jone"}, 80, 1), "\x1b[H?[2Jone\x1b[K\x1b[J");
}

}  // namespace
}  // namespace longwave::cli
