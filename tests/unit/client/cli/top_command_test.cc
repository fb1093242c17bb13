#include "client/cli/top_command.h"

#include <gtest/gtest.h>

namespace longwave::cli {
namespace {

using Time = std::chrono::steady_clock::time_point;
using std::chrono::seconds;

TEST(NextTickTest, IsOneIntervalOnWhereNothingWasMissed) {
  EXPECT_EQ(NextTick(Time(seconds(10)), Time(seconds(10)), seconds(2)), Time(seconds(12)));
  EXPECT_EQ(NextTick(Time(seconds(10)), Time(seconds(11)), seconds(2)), Time(seconds(12)));
}

TEST(NextTickTest, WhatAStallMadeMissIsNotCaughtUp) {
  EXPECT_EQ(NextTick(Time(seconds(10)), Time(seconds(12)), seconds(2)), Time(seconds(14)));
  EXPECT_EQ(NextTick(Time(seconds(10)), Time(seconds(3611)), seconds(2)), Time(seconds(3612)));
}

}  // namespace
}  // namespace longwave::cli
