// Thousands of seeded schedules of the scheduler in virtual time. A failure names its seed:
// scheduler_simulation --seed=N runs that schedule alone, --seed=N --schedules=M M of them;
// --seed=N --print writes it as text, to be kept in schedules/.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/simulation/history_checker.h"
#include "tests/simulation/schedule.h"
#include "tests/simulation/schedule_generator.h"
#include "tests/simulation/simulated_world.h"

namespace longwave {
namespace {

uint32_t first_seed = 1;
uint32_t schedules = LONGWAVE_SCHEDULES;

// Fails the test if the schedule breaks a promise.
void ExpectPromisesKept(absl::string_view name, const History& history) {
  const std::vector<std::string> problems = CheckHistory(history);
  ASSERT_TRUE(problems.empty()) << name << "\n" << absl::StrJoin(problems, "\n");
}

// Schedules that found something once: run in every build, however few others it runs.
TEST(SchedulerSimulation, KeepsItsPromisesWhereItOnceDidNot) {
  int kept = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LONGWAVE_KEPT_SCHEDULES)) {
    std::ifstream file(entry.path());
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    const absl::StatusOr<Schedule> schedule = ParseSchedule(text);
    ASSERT_TRUE(schedule.ok()) << entry.path() << ": " << schedule.status();
    ExpectPromisesKept(entry.path().string(), SimulatedWorld(*schedule).Run());
    ++kept;
  }
  EXPECT_GE(kept, 3);
}

TEST(SchedulerSimulation, AScheduleReadFromItsTextIsTheSame) {
  for (uint32_t seed = 1; seed <= 100; ++seed) {
    const Schedule schedule = RandomSchedule(seed);
    const std::string text = ToText(schedule);
    const absl::StatusOr<Schedule> read = ParseSchedule(text);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_EQ(ToText(*read), text);
    const History one = SimulatedWorld(schedule).Run();
    const History two = SimulatedWorld(*read).Run();
    ASSERT_EQ(one.steps.size(), two.steps.size()) << seed;
    for (size_t s = 0; s < one.steps.size(); ++s) {
      ASSERT_EQ(one.steps[s].members, two.steps[s].members) << seed;
      ASSERT_EQ(one.steps[s].ended, two.steps[s].ended) << seed;
    }
  }
}

TEST(SchedulerSimulation, WhatIsNoLineOfAScheduleIsNamed) {
  for (const char* line : {"rounds 0", "round", "round -1", "read x", "drain 1", "submit tokens=",
                           "submit tokens=0", "submit tokens=3 tenant=nobody", "options places=3",
                           "fault kind=flood", "encoder time_factor=fast", "cancel -1"}) {
    const absl::Status status = ParseSchedule(absl::StrCat("drain\n", line)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(line));
  }
}

TEST(SchedulerSimulation, KeepsItsPromisesInEverySchedule) {
  std::set<ErrorReason> reasons;
  std::set<ErrorReason> refusals;
  int64_t steps = 0;
  int64_t completed = 0;
  for (uint32_t seed = first_seed; seed < first_seed + schedules; ++seed) {
    const History history = SimulatedWorld(RandomSchedule(seed)).Run();
    ASSERT_NO_FATAL_FAILURE(ExpectPromisesKept(absl::StrCat("--seed=", seed), history));
    steps += static_cast<int64_t>(history.steps.size());
    for (const SequenceHistory& sequence : history.sequences) {
      completed += sequence.ok ? 1 : 0;
      if (sequence.ends > 0 && !sequence.ok) reasons.insert(sequence.reason);
      if (!sequence.accepted) refusals.insert(sequence.refusal);
    }
  }
  RecordProperty("steps", std::to_string(steps));
  RecordProperty("completed", std::to_string(completed));
  if (schedules < LONGWAVE_SCHEDULES) return;
  // The schedules are worth something only as long as all of this happens in them.
  EXPECT_GT(completed, schedules);
  EXPECT_EQ(reasons, (std::set<ErrorReason>{ErrorReason::kDeadlineExpired, ErrorReason::kDraining,
                                            ErrorReason::kCancelled, ErrorReason::kSlowReader,
                                            ErrorReason::kNonFinite, ErrorReason::kOutOfMemory,
                                            ErrorReason::kDeviceLost, ErrorReason::kInternal}));
  EXPECT_EQ(refusals,
            (std::set<ErrorReason>{ErrorReason::kDeadlineExpired, ErrorReason::kDeadlineUnmeetable,
                                   ErrorReason::kQueueFull, ErrorReason::kMemoryFull,
                                   ErrorReason::kQuotaExceeded, ErrorReason::kExceedsGrace,
                                   ErrorReason::kDraining, ErrorReason::kDeviceLost}));
}

TEST(SchedulerSimulation, IsAFunctionOfItsSeed) {
  const History one = SimulatedWorld(RandomSchedule(first_seed)).Run();
  const History two = SimulatedWorld(RandomSchedule(first_seed)).Run();
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
  bool counted = false;
  bool print = false;
  for (int i = 1; i < argc; ++i) {
    absl::string_view argument = argv[i];
    if (absl::ConsumePrefix(&argument, "--seed=")) {
      if (!absl::SimpleAtoi(argument, &longwave::first_seed)) return 2;
      if (!counted) longwave::schedules = 1;
    } else if (absl::ConsumePrefix(&argument, "--schedules=")) {
      if (!absl::SimpleAtoi(argument, &longwave::schedules)) return 2;
      counted = true;
    } else if (argument == "--print") {
      print = true;
    } else {
      return 2;
    }
  }
  if (!print) return RUN_ALL_TESTS();
  std::fputs(longwave::ToText(longwave::RandomSchedule(longwave::first_seed)).c_str(), stdout);
  return 0;
}
