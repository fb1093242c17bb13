// Thousands of seeded schedules of the scheduler in virtual time. A failure names its seed:
// scheduler_simulation --seed=N runs that schedule alone.

#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"
#include "tests/simulation/history_checker.h"
#include "tests/simulation/simulated_world.h"

namespace longwave {
namespace {

uint32_t first_seed = 1;
uint32_t schedules = LONGWAVE_SCHEDULES;

TEST(SchedulerSimulation, KeepsItsPromisesInEverySchedule) {
  std::set<ErrorReason> reasons;
  int64_t steps = 0;
  int64_t completed = 0;
  for (uint32_t seed = first_seed; seed < first_seed + schedules; ++seed) {
    const History history = SimulatedWorld(seed).Run();
    const std::vector<std::string> problems = CheckHistory(history);
    ASSERT_TRUE(problems.empty()) << "--seed=" << seed << "\n" << absl::StrJoin(problems, "\n");
    steps += static_cast<int64_t>(history.steps.size());
    for (const SequenceHistory& sequence : history.sequences) {
      completed += sequence.ok ? 1 : 0;
      if (sequence.ends > 0 && !sequence.ok) reasons.insert(sequence.reason);
    }
  }
  RecordProperty("steps", std::to_string(steps));
  RecordProperty("completed", std::to_string(completed));
  if (schedules == 1) return;
  // The schedules are worth something only as long as all of this happens in them.
  EXPECT_GT(completed, schedules);
  EXPECT_EQ(reasons, (std::set<ErrorReason>{ErrorReason::kDeadlineExpired, ErrorReason::kDraining,
                                            ErrorReason::kCancelled, ErrorReason::kSlowReader,
                                            ErrorReason::kNonFinite, ErrorReason::kOutOfMemory,
                                            ErrorReason::kDeviceLost, ErrorReason::kInternal}));
}

TEST(SchedulerSimulation, IsAFunctionOfItsSeed) {
  const History one = SimulatedWorld(first_seed).Run();
  const History two = SimulatedWorld(first_seed).Run();
  ASSERT_EQ(one.steps.size(), two.steps.size());
  for (size_t s = 0; s < one.steps.size(); ++s) {
    EXPECT_EQ(one.steps[s].members, two.steps[s].members);
    EXPECT_EQ(one.steps[s].began, two.steps[s].began);
  }
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (!absl::ConsumePrefix(&argument, "--seed=") ||
        !absl::SimpleAtoi(argument, &longwave::first_seed)) {
      return 2;
    }
    longwave::schedules = 1;
  }
  return RUN_ALL_TESTS();
}
