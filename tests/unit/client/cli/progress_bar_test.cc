#include "client/cli/progress_bar.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <string>

namespace longwave::cli {
namespace {

TEST(RenderProgressTest, TellsShareRowsAndTime) {
  EXPECT_EQ(RenderProgress({.name = "book.txt",
                            .rows = 250'000,
                            .total_rows = 1'000'000,
                            .elapsed = absl::Seconds(75)},
                           100),
            "book.txt [#####...............]  25%  250000/1000000 rows, 3333/s  01:15, 03:45 left");
}

// What an earlier process did took none of this one's time.
TEST(RenderProgressTest, CountsFromWhereItBegan) {
  EXPECT_EQ(RenderProgress({.name = "x",
                            .rows = 600,
                            .first_rows = 500,
                            .total_rows = 1000,
                            .elapsed = absl::Seconds(10)},
                           100),
            "x [############........]  60%  600/1000 rows, 10/s  00:10, 00:40 left");
}

TEST(RenderProgressTest, GoesByTheServersWordWhereThereIsOneRow) {
  EXPECT_EQ(
      RenderProgress(
          {.name = "x", .fraction = 0.5, .total_rows = 1, .elapsed = absl::Seconds(3700)}, 100),
      "x [##########..........]  50%  1:01:40, 1:01:40 left");
}

TEST(RenderProgressTest, MakesNoGuessBeforeItKnowsOrWhenDone) {
  EXPECT_EQ(RenderProgress({.name = "x", .total_rows = 1, .elapsed = absl::Seconds(1)}, 100),
            "x [....................]   0%  00:01");
  EXPECT_EQ(RenderProgress({.name = "x", .fraction = 2, .elapsed = absl::Seconds(1)}, 100),
            "x [####################] 100%  00:01");
}

TEST(RenderProgressTest, HasNoBarWhereNothingIsKnown) {
  EXPECT_EQ(RenderProgress({.name = "12 documents", .elapsed = absl::Seconds(1)}, 100),
            "12 documents  00:01");
}

TEST(RenderProgressTest, KeepsToTheWidth) {
  const ProgressState state{.name = "a/very/long/path/to/some/document.txt", .fraction = 0.5};
  EXPECT_EQ(RenderProgress(state, 30).size(), 30);
  EXPECT_EQ(RenderProgress(state, 100).substr(0, 24), ".../to/some/document.txt");
  EXPECT_EQ(RenderProgress(state, 0), "");
}

TEST(ProgressBarTest, DrawsNothingWhereThereIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  {
    ProgressBar bar(file, true);
    bar.Start("x");
    bar.SetRows(1, 2);
  }
  EXPECT_EQ(std::ftell(file), 0);
  std::fclose(file);
}

}  // namespace
}  // namespace longwave::cli
