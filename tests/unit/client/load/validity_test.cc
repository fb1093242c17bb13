#include "client/load/validity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace longwave::load {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kNone = std::numeric_limits<double>::infinity();

LoadResult GoodRun() {
  LoadResult result;
  result.groups.resize(1);
  result.groups[0].offered = 1000;
  for (int i = 0; i < 1000; ++i) result.lateness.Record(1e-4);
  return result;
}

std::vector<std::string> Problems(const LoadResult& result, double deadline = 0.5) {
  std::vector<GroupLabel> groups(1);
  groups[0].name = "readers";
  groups[0].deadline_seconds = deadline;
  return ValidityProblems(result, ValidityLimits(), groups);
}

TEST(ValidityTest, AGoodRunHasNoProblem) {
  EXPECT_THAT(Problems(GoodRun()), IsEmpty());
  EXPECT_THAT(Problems(GoodRun(), kNone), IsEmpty());
}

TEST(ValidityTest, LatenessOfMoreThanOneInAHundredSpoilsTheRun) {
  LoadResult result = GoodRun();
  for (int i = 0; i < 9; ++i) result.lateness.Record(0.1);
  EXPECT_THAT(Problems(result), IsEmpty());
  for (int i = 0; i < 20; ++i) result.lateness.Record(0.1);
  EXPECT_THAT(Problems(result), ElementsAre(HasSubstr("p99 100.0 ms behind their time")));
}

TEST(ValidityTest, ABacklogSpoilsTheRunOnlyWithoutADeadline) {
  LoadResult result = GoodRun();
  result.groups[0].in_flight_at_end = 100;
  EXPECT_THAT(Problems(result, kNone), IsEmpty());
  result.groups[0].in_flight_at_end = 101;
  EXPECT_THAT(Problems(result, kNone), ElementsAre(HasSubstr("group readers: 101 of 1000")));
  EXPECT_THAT(Problems(result), IsEmpty());
}

TEST(ValidityTest, AFewCallsInFlightAreNoBacklogOfAShortRun) {
  LoadResult result = GoodRun();
  result.groups[0].offered = 20;
  result.groups[0].in_flight_at_end = 16;
  EXPECT_THAT(Problems(result, kNone), IsEmpty());
}

TEST(ValidityTest, CallsWithoutAnEndSpoilTheRun) {
  LoadResult result = GoodRun();
  result.groups[0].left = 1;
  EXPECT_THAT(Problems(result), IsEmpty());
  result.groups[0].left = 2;
  EXPECT_THAT(Problems(result), ElementsAre(HasSubstr("2 of 1000 calls had not ended")));
}

TEST(ValidityTest, CallsThatWereNotSentSpoilTheRun) {
  LoadResult result = GoodRun();
  result.not_sent = 1;
  EXPECT_THAT(Problems(result), ElementsAre(HasSubstr("1 calls were not sent")));
}

TEST(ValidityTest, ARunWithoutCallsIsNone) {
  LoadResult result = GoodRun();
  result.groups[0].offered = 0;
  EXPECT_THAT(Problems(result), ElementsAre(HasSubstr("no call was due")));
}

}  // namespace
}  // namespace longwave::load
