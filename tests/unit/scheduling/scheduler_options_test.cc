#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduling/scheduler.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

TEST(SchedulerOptionsTest, DefaultsAreValid) { EXPECT_TRUE(SchedulerOptions().Validate().ok()); }

TEST(SchedulerOptionsTest, EveryProblemNamesItsFlag) {
  const SchedulerOptions options{.admission = {.max_queue_sequences = 0, .max_queue_tokens = 0},
                                 .max_batch_seconds = std::numeric_limits<double>::quiet_NaN(),
                                 .max_batch_tokens = 0,
                                 .max_batch_sequences = 0,
                                 .max_resident_bytes = 0,
                                 .max_paused_jobs = -1,
                                 .max_stall_seconds = 0};
  const std::string message(options.Validate().message());
  for (const char* flag :
       {"--max_queue_sequences", "--max_queue_tokens", "--max_batch_seconds = nan",
        "--max_batch_tokens", "--max_batch_sequences", "--max_resident_bytes", "--max_paused_jobs",
        "--max_stall"}) {
    EXPECT_THAT(message, HasSubstr(flag));
  }
}

TEST(SchedulerOptionsTest, CreateRefusesBadOptions) {
  EXPECT_FALSE(Scheduler::Create({.max_batch_tokens = 0}, nullptr, nullptr).ok());
}

}  // namespace
}  // namespace longwave
