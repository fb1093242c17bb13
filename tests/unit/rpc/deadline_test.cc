#include "server/rpc/deadline.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

const Instant kNow = Instant(hours(1));

TEST(DeadlineTest, NoneGetsTheCap) {
  EXPECT_EQ(TimeLeft(gpr_inf_future(GPR_CLOCK_MONOTONIC)), std::nullopt);
  EXPECT_EQ(TimeLeft(gpr_inf_future(GPR_CLOCK_REALTIME)), std::nullopt);
  EXPECT_EQ(EffectiveDeadline(std::nullopt, seconds(120), kNow), kNow + seconds(120));
}

TEST(DeadlineTest, TheEarlierOfDeadlineAndCapCounts) {
  EXPECT_EQ(EffectiveDeadline(seconds(5), seconds(120), kNow), kNow + seconds(5));
  EXPECT_EQ(EffectiveDeadline(seconds(500), seconds(120), kNow), kNow + seconds(120));
}

TEST(DeadlineTest, ReadsTheTimeLeft) {
  const gpr_timespec in_an_hour =
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_hours(1, GPR_TIMESPAN));
  const auto left = TimeLeft(in_an_hour);
  ASSERT_TRUE(left.has_value());
  EXPECT_LE(*left, hours(1));
  EXPECT_GT(*left, hours(1) - seconds(60));
}

TEST(DeadlineTest, EnormousAndLongPastDeadlinesDoNotOverflow) {
  gpr_timespec far = gpr_now(GPR_CLOCK_MONOTONIC);
  far.tv_sec += int64_t{99999999} * 3600;  // the largest that the wire can say
  const auto left = TimeLeft(far);
  ASSERT_TRUE(left.has_value());
  EXPECT_EQ(EffectiveDeadline(left, seconds(120), kNow), kNow + seconds(120));

  const auto past = TimeLeft(gpr_inf_past(GPR_CLOCK_MONOTONIC));
  ASSERT_TRUE(past.has_value());
  EXPECT_LT(EffectiveDeadline(past, seconds(120), kNow), kNow);
}

TEST(DeadlineTest, ATimerThatRingsALittleEarlyIsTheDeadlineAllTheSame) {
  EXPECT_TRUE(CancelledByDeadline(kNow, kNow + seconds(1)));
  EXPECT_TRUE(CancelledByDeadline(kNow + std::chrono::microseconds(900), kNow));
  EXPECT_FALSE(CancelledByDeadline(kNow + std::chrono::milliseconds(50), kNow));
}

}  // namespace
}  // namespace longwave
