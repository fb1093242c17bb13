#include "client/load/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace longwave::load {
namespace {

Traffic MakeTraffic(std::vector<RatePhase> phases, const std::string& tokens = "512") {
  Traffic traffic;
  traffic.phases = std::move(phases);
  traffic.lengths = *LengthMix::Parse(tokens);
  return traffic;
}

std::vector<PlannedCall> Schedule(const std::vector<Traffic>& groups, uint64_t seed = 1,
                                  int64_t max_calls = kUnlimitedCalls) {
  const auto calls = MakeSchedule(groups, seed, max_calls);
  EXPECT_TRUE(calls.ok()) << calls.status();
  return calls.ok() ? *calls : std::vector<PlannedCall>();
}

bool Same(const PlannedCall& a, const PlannedCall& b) {
  return a.due_seconds == b.due_seconds && a.tokens == b.tokens && a.document == b.document &&
         a.cancel_after_seconds == b.cancel_after_seconds;
}

TEST(ScheduleTest, IsAFunctionOfItsSeed) {
  const std::vector<Traffic> groups = {MakeTraffic({{1000, 2}}, "lognormal:100:1")};
  const auto first = Schedule(groups);
  const auto again = Schedule(groups);
  const auto other = Schedule(groups, 2);
  ASSERT_EQ(first.size(), again.size());
  for (size_t i = 0; i < first.size(); ++i) ASSERT_TRUE(Same(first[i], again[i])) << i;
  EXPECT_FALSE(first.size() == other.size() && Same(first[0], other[0]));
}

TEST(ScheduleTest, ArrivalsArePoisson) {
  const auto calls = Schedule({MakeTraffic({{1000, 50}})});
  const double expected = 50000;
  EXPECT_NEAR(calls.size(), expected, 5 * std::sqrt(expected));
  // Gaps of a Poisson process: exponential, so mean and standard deviation are equal, and e^-1 of
  // them are longer than the mean.
  double sum = 0;
  double squares = 0;
  int longer = 0;
  for (size_t i = 1; i < calls.size(); ++i) {
    const double gap = calls[i].due_seconds - calls[i - 1].due_seconds;
    ASSERT_GE(gap, 0);
    sum += gap;
    squares += gap * gap;
    longer += gap > 1e-3;
  }
  const double count = static_cast<double>(calls.size()) - 1;
  const double mean = sum / count;
  EXPECT_NEAR(mean, 1e-3, 2.5e-5);
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 1e-3, 4e-5);
  EXPECT_NEAR(longer / count, std::exp(-1), 0.011);
}

TEST(ScheduleTest, EvenArrivalsHaveEqualGapsFromARandomMomentOn) {
  Traffic traffic = MakeTraffic({{10, 5}});
  traffic.arrivals = Arrivals::kEven;
  const auto calls = Schedule({traffic});
  const auto others = Schedule({traffic}, 2);
  ASSERT_EQ(calls.size(), 50u);
  EXPECT_LT(calls[0].due_seconds, 0.1);
  EXPECT_NE(calls[0].due_seconds, others[0].due_seconds);
  for (size_t i = 1; i < calls.size(); ++i) {
    ASSERT_NEAR(calls[i].due_seconds - calls[i - 1].due_seconds, 0.1, 1e-9);
  }
}

TEST(ScheduleTest, PhasesFollowOneAnother) {
  const auto calls = Schedule({MakeTraffic({{1000, 10}, {0, 5}, {100, 10}})});
  int in_phase[3] = {};
  for (const PlannedCall& call : calls) {
    ASSERT_LT(call.due_seconds, 25);
    ++in_phase[call.due_seconds < 10 ? 0 : call.due_seconds < 15 ? 1 : 2];
  }
  EXPECT_NEAR(in_phase[0], 10000, 500);
  EXPECT_EQ(in_phase[1], 0);
  EXPECT_NEAR(in_phase[2], 1000, 160);
}

TEST(ScheduleTest, GroupsMixInOrderAndDoNotDisturbEachOther) {
  const Traffic a = MakeTraffic({{200, 5}}, "100");
  const Traffic b = MakeTraffic({{50, 5}}, "7");
  const auto alone = Schedule({a});
  std::vector<PlannedCall> beside;
  double last = 0;
  for (const PlannedCall& call : Schedule({a, b})) {
    EXPECT_GE(call.due_seconds, last);
    last = call.due_seconds;
    EXPECT_EQ(call.tokens, call.group == 0 ? 100u : 7u);
    if (call.group == 0) beside.push_back(call);
  }
  ASSERT_EQ(beside.size(), alone.size());
  for (size_t i = 0; i < alone.size(); ++i) ASSERT_TRUE(Same(alone[i], beside[i])) << i;
}

TEST(ScheduleTest, CancelsTheShareWithinTheTime) {
  Traffic traffic = MakeTraffic({{1000, 10}});
  traffic.cancel_share = 0.25;
  traffic.cancel_within_seconds = 0.5;
  const auto calls = Schedule({traffic});
  int cancelled = 0;
  double sum = 0;
  for (const PlannedCall& call : calls) {
    if (call.cancel_after_seconds == kNeverCancelled) continue;
    ASSERT_GE(call.cancel_after_seconds, 0);
    ASSERT_LE(call.cancel_after_seconds, 0.5);
    sum += call.cancel_after_seconds;
    ++cancelled;
  }
  EXPECT_NEAR(cancelled, 0.25 * calls.size(), 220);
  EXPECT_NEAR(sum / cancelled, 0.25, 0.02);
}

TEST(ScheduleTest, UsesEveryDocumentAndNoOther) {
  Traffic traffic = MakeTraffic({{1000, 1}});
  traffic.documents = 3;
  std::vector<int> seen(3);
  for (const PlannedCall& call : Schedule({traffic})) {
    ASSERT_LT(call.document, 3);
    ++seen[call.document];
  }
  EXPECT_GT(*std::min_element(seen.begin(), seen.end()), 200);
}

TEST(ScheduleTest, TheFirstCallsAreKeptWhereTheirNumberIsBounded) {
  const std::vector<Traffic> groups = {MakeTraffic({{100, 10}}), MakeTraffic({{300, 10}})};
  const auto all = Schedule(groups);
  const auto some = Schedule(groups, 1, 100);
  ASSERT_EQ(some.size(), 100u);
  for (size_t i = 0; i < some.size(); ++i) ASSERT_TRUE(Same(all[i], some[i])) << i;
}

TEST(ScheduleTest, RefusesMoreThanAProcessCanSend) {
  const std::vector<Traffic> groups = {MakeTraffic({{1e6, 1000}})};
  EXPECT_FALSE(MakeSchedule(groups, 1).ok());
  EXPECT_TRUE(MakeSchedule(groups, 1, 10).ok());
}

TEST(ScheduleTest, LastsAsLongAsTheLongestGroup) {
  const std::vector<Traffic> groups = {MakeTraffic({{1, 2}, {0, 3}}), MakeTraffic({{1, 4}})};
  EXPECT_EQ(ScheduleSeconds(groups), 5);
}

}  // namespace
}  // namespace longwave::load
