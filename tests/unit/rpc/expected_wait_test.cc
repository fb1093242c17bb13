#include "server/rpc/expected_wait.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(ExpectedWaitTest, IsWhatWaitsAndRunsInTheWeatherOfTheDay) {
  const SchedulerView view = {.queued_seconds = 2, .running_seconds = 0.5};
  EXPECT_DOUBLE_EQ(ExpectedWaitSeconds(view, 1), 2.5);
  // A device that is throttled to a third.
  EXPECT_DOUBLE_EQ(ExpectedWaitSeconds(view, 3), 7.5);
  EXPECT_EQ(ExpectedWaitSeconds({}, 3), 0);
}

}  // namespace
}  // namespace longwave
