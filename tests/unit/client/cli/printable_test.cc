#include "client/cli/printable.h"

#include <gtest/gtest.h>

#include <sstream>

namespace longwave::cli {
namespace {

TEST(PrintableTest, ReplacesWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("\x1b[2Ja\tb\r\n\x7f."), "?[2Ja?b???.");
  EXPECT_EQ(Printable(absl::string_view("\0", 1)), "?");
  EXPECT_EQ(Printable("\u009b31m\u0080"), "?31m?");  // C1 in UTF-8
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "?31m");  // and alone
}

TEST(PrintableTest, LeavesTextAsItIs) {
  const std::string text = "na\u00efve \u4e2d \U0001f30a \u00a0";
  EXPECT_EQ(Printable(text), text);
  EXPECT_EQ(Printable("a\xFF\xC3"), "a\xFF\xC3");  // no UTF-8, and nothing to obey
  EXPECT_EQ(Printable(""), "");
}

TEST(PrintableTest, LinesKeepTheirEnds) { EXPECT_EQ(PrintableLines("a\nb\r\n"), "a\nb?\n"); }

TEST(PrintableOutputTest, PassesOnWhatIsPrintable) {
  std::ostringstream out;
  PrintableOutput printable(out);
  printable.stream() << "a" << '\x1b' << "[1m" << 7 << "\n";
  EXPECT_EQ(out.str(), "a?[1m7\n");
}

}  // namespace
}  // namespace longwave::cli
