#include "server/scheduling/job_selector.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace longwave {
namespace {

using Turn = JobSelector::Turn;

constexpr Priority kInteractive = Priority::kInteractive;
constexpr Priority kBatch = Priority::kBatch;

constexpr Instant kStart{};

FlowPart Part(Priority priority, double seconds) {
  return {.flow = {.priority = priority}, .seconds = seconds};
}

SliceCandidate Of(Priority priority, double finish, uint64_t number = 0, int64_t waited = 0) {
  return {.flow = {.priority = priority},
          .key = {.finish = finish, .number = number},
          .slice_seconds = 0.02,
          .waited = waited};
}

TEST(JobSelectorTest, TheLeastKeyOfAClassIsServed) {
  JobSelector selector;
  EXPECT_EQ(selector.Choose({Of(kInteractive, 5)}, kStart).index, 0);
  EXPECT_EQ(selector.Choose({Of(kInteractive, 5), Of(kInteractive, 3), Of(kInteractive, 4)}, kStart)
                .index,
            1);
}

TEST(JobSelectorTest, TiesGoByDeadlineThenArrival) {
  JobSelector selector;
  SliceCandidate late = Of(kInteractive, 1, 1);
  SliceCandidate soon = Of(kInteractive, 1, 2);
  late.key.deadline = Instant(Nanoseconds(20));
  soon.key.deadline = Instant(Nanoseconds(10));
  EXPECT_EQ(selector.Choose({late, soon}, kStart).index, 1);
  soon.key.deadline = late.key.deadline;
  EXPECT_EQ(selector.Choose({late, soon}, kStart).index, 0);
  EXPECT_EQ(selector.Choose({soon, late}, kStart).index, 1);
}

TEST(JobSelectorTest, TheOrderOfTheCandidatesDoesNotMatter) {
  JobSelector selector;
  selector.Ran({Part(kInteractive, 0.1)}, Turn::kFair);
  SliceCandidate heavy = Of(kInteractive, 1, 1);
  heavy.slice_seconds = 10;
  const std::vector<SliceCandidate> candidates = {heavy, Of(kBatch, 0, 2), Of(kInteractive, 2, 3)};
  std::vector<int> order = {0, 1, 2};
  const uint64_t chosen = candidates[selector.Choose(candidates, kStart).index].key.number;
  do {
    std::vector<SliceCandidate> shuffled;
    for (const int i : order) shuffled.push_back(candidates[i]);
    EXPECT_EQ(shuffled[selector.Choose(shuffled, kStart).index].key.number, chosen);
  } while (std::next_permutation(order.begin(), order.end()));
}

// Runs `slices` slices of whichever class is chosen; both always have one ready.
std::pair<int, int> Share(JobSelector& selector, int slices) {
  std::pair<int, int> count;
  for (int i = 0; i < slices; ++i) {
    const std::vector<SliceCandidate> both = {Of(kInteractive, 0, 1), Of(kBatch, 0, 2)};
    const size_t chosen = selector.Choose(both, kStart).index;
    selector.Ran({Part(both[chosen].flow.priority, 0.02)}, Turn::kFair);
    ++(chosen == 0 ? count.first : count.second);
  }
  return count;
}

TEST(JobSelectorTest, ClassesShareNineToOne) {
  JobSelector selector;
  const auto [interactive, batch] = Share(selector, 1000);
  EXPECT_NEAR(interactive, 900, 1);
  EXPECT_NEAR(batch, 100, 1);
}

TEST(JobSelectorTest, AClassThatWasIdleHasNoCredit) {
  for (const Priority busy : {kBatch, kInteractive}) {
    JobSelector selector;
    Share(selector, 50);
    for (int i = 0; i < 1000; ++i) {
      selector.Choose({Of(busy, 0)}, kStart);
      selector.Ran({Part(busy, 0.02)}, Turn::kFair);
    }
    const auto [interactive, batch] = Share(selector, 100);
    EXPECT_NEAR(interactive, 90, 1);
    EXPECT_NEAR(batch, 10, 1);
  }
}

TEST(JobSelectorTest, AnInteractiveSliceComesBeforeABatchSlice) {
  JobSelector selector;
  for (int i = 0; i < 5; ++i) {
    selector.Choose({Of(kBatch, 0, 1)}, kStart);
    selector.Ran({Part(kBatch, 0.02)}, Turn::kFair);
  }
  EXPECT_EQ(selector.Choose({Of(kBatch, 0, 1), Of(kInteractive, 100, 2)}, kStart).index, 1);
}

TEST(JobSelectorTest, APausedJobGoesOnAfterNineSlicesOfOthers) {
  JobSelector selector;
  int64_t waited = 0;
  std::vector<int> resumed;
  for (int slice = 0; slice < 40; ++slice) {
    const std::vector<SliceCandidate> two = {Of(kInteractive, 1, 2),
                                             Of(kInteractive, 99, 1, waited)};
    const JobSelector::Choice choice = selector.Choose(two, kStart);
    selector.Ran({Part(kInteractive, 0.02)}, choice.turn);
    EXPECT_EQ(choice.turn, choice.index == 1 ? Turn::kAgedJob : Turn::kFair);
    if (choice.index == 1) resumed.push_back(slice);
    waited = choice.index == 1 ? 0 : waited + 1;
  }
  EXPECT_EQ(resumed, (std::vector<int>{9, 19, 29, 39}));
}

// The paused job has its slice in ten out of turn, and the rest of its class the class's own.
TEST(JobSelectorTest, APausedJobLeavesItsClassTheTurnThatIsTheClasss) {
  for (const bool more : {false, true}) {
    JobSelector selector;
    int64_t waited = 0;
    int paused = 0;
    int others = 0;
    for (int slice = 0; slice < 1000; ++slice) {
      std::vector<SliceCandidate> candidates = {Of(kInteractive, 1, 1), Of(kBatch, 9, 2, waited)};
      if (more) candidates.push_back(Of(kBatch, 1, 3));
      const JobSelector::Choice choice = selector.Choose(candidates, kStart);
      selector.Ran({Part(candidates[choice.index].flow.priority, 0.02)}, choice.turn);
      waited = choice.index == 1 ? 0 : waited + 1;
      paused += choice.index == 1 ? 1 : 0;
      others += choice.index == 2 ? 1 : 0;
    }
    EXPECT_NEAR(paused, 100, 2);
    EXPECT_NEAR(others, more ? 90 : 0, 2);
  }
}

TEST(JobSelectorTest, OfSeveralThatWaitTheLongestWaitingGoesFirst) {
  JobSelector selector;
  for (int i = 0; i < 9; ++i) selector.Ran({Part(kInteractive, 0.02)}, Turn::kFair);
  const std::vector<SliceCandidate> three = {Of(kInteractive, 1, 5), Of(kBatch, 9, 4, 20),
                                             Of(kBatch, 8, 3, 21)};
  EXPECT_EQ(selector.Choose(three, kStart).index, 2);
  const std::vector<SliceCandidate> equal = {Of(kInteractive, 1, 5), Of(kBatch, 9, 4, 20),
                                             Of(kBatch, 8, 3, 20)};
  EXPECT_EQ(selector.Choose(equal, kStart).index, 2);
  const std::vector<SliceCandidate> fresh = {Of(kInteractive, 1, 5), Of(kBatch, 9, 4, 8)};
  EXPECT_EQ(selector.Choose(fresh, kStart).index, 0);
}

TEST(JobSelectorTest, AStartedJobThatWaitsGoesBeforeASequenceThatDoes) {
  JobSelector selector;
  for (int i = 0; i < 9; ++i) selector.Ran({Part(kInteractive, 0.02)}, Turn::kFair);
  SliceCandidate queued = Of(kInteractive, 7, 3, 50);
  queued.started = false;
  const SliceCandidate running = Of(kInteractive, 1, 5);
  EXPECT_EQ(selector.Choose({running, queued, Of(kBatch, 9, 4, 9)}, kStart).index, 2);
  const JobSelector::Choice start = selector.Choose({running, queued, Of(kBatch, 9, 4, 8)}, kStart);
  EXPECT_EQ(start.index, 1);
  EXPECT_EQ(start.turn, Turn::kAgedStart);
  // The queue's turn does not cost the job its own, one slice later.
  selector.Ran({Part(kInteractive, 0.02)}, start.turn);
  EXPECT_EQ(selector.Choose({running, Of(kBatch, 9, 4, 9)}, kStart).index, 1);
}

// Runs slices of tenants 1 and 2 of one class with these shares; both always have one ready.
std::pair<int, int> ShareTenants(JobSelector& selector, double first, double second, int slices) {
  std::pair<int, int> count;
  SliceCandidate one = Of(kInteractive, 5, 1);
  one.flow.tenant = 1;
  one.flow.share = first;
  SliceCandidate two = Of(kInteractive, 0, 2);
  two.flow.tenant = 2;
  two.flow.share = second;
  for (int i = 0; i < slices; ++i) {
    const std::vector<SliceCandidate> both = {one, two};
    const size_t chosen = selector.Choose(both, kStart).index;
    selector.Ran({{.flow = both[chosen].flow, .seconds = 0.02}}, Turn::kFair);
    ++(chosen == 0 ? count.first : count.second);
  }
  return count;
}

TEST(JobSelectorTest, TenantsOfAClassShareByTheirShares) {
  JobSelector selector;
  const auto [first, second] = ShareTenants(selector, 4, 1, 1000);
  EXPECT_NEAR(first, 800, 1);
  EXPECT_NEAR(second, 200, 1);
}

SliceCandidate OfTenant(uint64_t tenant, double share) {
  SliceCandidate candidate = Of(kInteractive, 0, tenant);
  candidate.flow.tenant = tenant;
  candidate.flow.share = share;
  return candidate;
}

// Runs `slices` slices of this tenant, which nobody competes with.
void RunAlone(JobSelector& selector, const SliceCandidate& candidate, int slices) {
  for (int i = 0; i < slices; ++i) {
    selector.Choose({candidate}, kStart);
    selector.Ran({{.flow = candidate.flow, .seconds = 0.02}}, Turn::kFair);
  }
}

constexpr int kSavedSlices = 5;  // JobSelector::kSavedSeconds / 0.02

TEST(JobSelectorTest, ATenantThatWasIdleHasSavedLittle) {
  for (const double share : {0.25, 1.0, 4.0}) {
    JobSelector selector;
    ShareTenants(selector, 1, share, 50);
    RunAlone(selector, OfTenant(1, 1), 1000);
    const auto [busy, idle] = ShareTenants(selector, 1, share, 100);
    const double rest = 100 - kSavedSlices;
    EXPECT_NEAR(idle, kSavedSlices + rest * share / (1 + share), 1) << "share " << share;
    EXPECT_NEAR(busy, rest / (1 + share), 1) << "share " << share;
  }
}

TEST(JobSelectorTest, ATenantNeverSeenBeginsLikeOneThatWasIdle) {
  JobSelector selector;
  RunAlone(selector, OfTenant(1, 1), 1000);
  const auto [busy, fresh] = ShareTenants(selector, 1, 1, 100);
  EXPECT_NEAR(fresh - busy, kSavedSlices, 1);
}

TEST(JobSelectorTest, ATenantWithinItsShareGoesFirst) {
  JobSelector selector;
  const SliceCandidate greedy = OfTenant(1, 1);
  const SliceCandidate modest = OfTenant(2, 1);
  RunAlone(selector, greedy, 100);
  // One slice in four, in bursts of two: less than the half that is its own.
  for (int round = 0; round < 100; ++round) {
    for (int slice = 0; slice < 2; ++slice) {
      const std::vector<SliceCandidate> both = {greedy, modest};
      ASSERT_EQ(selector.Choose(both, kStart).index, 1) << "round " << round;
      selector.Ran({{.flow = modest.flow, .seconds = 0.02}}, Turn::kFair);
    }
    RunAlone(selector, greedy, 6);
  }
}

TEST(JobSelectorTest, LeavingAndComingBackGainsNothing) {
  JobSelector selector;
  const SliceCandidate greedy = OfTenant(1, 1);
  const SliceCandidate sly = OfTenant(2, 1);
  int slyly = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i % 3 == 2) {  // it is away for every third slice
      RunAlone(selector, greedy, 1);
      continue;
    }
    const std::vector<SliceCandidate> both = {greedy, sly};
    const JobSelector::Choice choice = selector.Choose(both, kStart);
    selector.Ran({{.flow = both[choice.index].flow, .seconds = 0.02}}, choice.turn);
    slyly += choice.index == 1 ? 1 : 0;
  }
  EXPECT_NEAR(slyly, 500, kSavedSlices + 1);
}

TEST(JobSelectorTest, WhatIsDueGoesFirstButNotTwiceInARow) {
  JobSelector selector;
  const Instant now = Instant(Nanoseconds(100));
  SliceCandidate due = Of(kInteractive, 9, 1);
  due.due = now;
  SliceCandidate overdue = Of(kInteractive, 8, 2);
  overdue.due = now - Nanoseconds(1);
  SliceCandidate calm = Of(kInteractive, 1, 3);
  calm.due = now + Nanoseconds(1);
  const std::vector<SliceCandidate> all = {due, overdue, calm};
  for (int i = 0; i < 4; ++i) {
    const JobSelector::Choice first = selector.Choose(all, now);
    EXPECT_EQ(first.index, 1);
    EXPECT_EQ(first.turn, Turn::kDue);
    selector.Ran({Part(kInteractive, 0.02)}, first.turn);
    const JobSelector::Choice then = selector.Choose(all, now);
    EXPECT_EQ(then.index, 2);
    EXPECT_EQ(then.turn, Turn::kFair);
    selector.Ran({Part(kInteractive, 0.02)}, then.turn);
  }
}

TEST(JobSelectorTest, BeingDueGivesNothingOfOtherTenants) {
  JobSelector selector;
  SliceCandidate due = Of(kInteractive, 0, 1);
  due.flow.tenant = 1;
  due.due = kStart;
  SliceCandidate other = Of(kInteractive, 0, 2);
  other.flow.tenant = 2;
  int others = 0;
  for (int i = 0; i < 100; ++i) {
    const std::vector<SliceCandidate> both = {due, other};
    const JobSelector::Choice choice = selector.Choose(both, kStart);
    selector.Ran({{.flow = both[choice.index].flow, .seconds = 0.02}}, choice.turn);
    others += choice.index == 1 ? 1 : 0;
  }
  EXPECT_NEAR(others, 50, 1);
}

}  // namespace
}  // namespace longwave
