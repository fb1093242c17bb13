#include "tests/bench/measure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Takes the times of a list, one a call; the last one for ever after.
Contender Scripted(const std::string& name, FakeClock& clock, std::vector<double> seconds,
                   std::string* order = nullptr) {
  auto next = std::make_shared<size_t>(0);
  return {name,
          [=, &clock] {
            clock.AdvanceSeconds(seconds[std::min(*next, seconds.size() - 1)]);
            ++*next;
            if (order != nullptr) *order += name;
          },
          {}};
}

MeasureOptions OneCallASample(int repeats) {
  return {.repeats = repeats, .sample_seconds = 0, .long_seconds = 1000, .retries = 2};
}

TEST(MedianTest, IsTheMiddleOrTheMeanOfTheMiddleTwo) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({7}), 7);
}

TEST(SamplesTest, DisagreementIsTheLargerOfWarmUpAndQuartiles) {
  EXPECT_NEAR((Samples{"a", 1.5, {1, 1, 1}}.Disagreement()), 0.5, 1e-12);
  EXPECT_NEAR((Samples{"a", 0.5, {1, 1, 1}}.Disagreement()), 0.5, 1e-12);
  EXPECT_NEAR((Samples{"a", 1, {0.5, 1, 2}}.Disagreement()), 0.75, 1e-12);
}

TEST(SamplesTest, OneRunHasNothingToDisagreeWith) {
  EXPECT_EQ((Samples{"a", 5, {1}}.Disagreement()), 0);
}

TEST(CheckRepeatsTest, NamesTheWorstAndTheLimit) {
  const Samples good = {"good", 1, {1, 1, 1}}, bad = {"bad", 2, {1, 1, 1}};
  EXPECT_TRUE(CheckRepeats({good}, 0.25).ok());
  const absl::Status status = CheckRepeats({good, bad}, 0.25);
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("bad did not repeat"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("100 %, limit 25 %"));
}

TEST(CheckRepeatsTest, NoNumberIsRefused) {
  const Samples none = {"none", 0, {0, 0, 0}};  // 0 / 0
  EXPECT_FALSE(CheckRepeats({none}, 0.25).ok());
}

TEST(MeasureTest, ContendersTakeTurns) {
  FakeClock clock;
  std::string order;
  const auto samples =
      Measure({Scripted("a", clock, {1}, &order), Scripted("b", clock, {2}, &order)},
              OneCallASample(2), clock);
  ASSERT_TRUE(samples.ok());
  // Two unmeasured calls each, then warm-up and rounds in turn.
  EXPECT_EQ(order, "aabbababab");
  EXPECT_THAT((*samples)[0].repeats, ElementsAre(1, 1));
  EXPECT_THAT((*samples)[1].repeats, ElementsAre(2, 2));
}

TEST(MeasureTest, ShortBodiesAreCalledOftenEnough) {
  FakeClock clock;
  int calls = 0;
  MeasureOptions options = OneCallASample(3);
  options.sample_seconds = 0.05;
  const auto samples = Measure({{"a",
                                 [&] {
                                   clock.AdvanceSeconds(0.01);
                                   ++calls;
                                 },
                                 {}}},
                               options, clock);
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ(calls, 2 + 4 * 5);
  EXPECT_NEAR((*samples)[0].Median(), 0.01, 1e-9);
}

TEST(MeasureTest, FirstCallOfALongBodyIsItsWarmUp) {
  FakeClock clock;
  std::string order;
  MeasureOptions options = OneCallASample(5);
  options.long_seconds = 1;
  const auto samples = Measure({Scripted("a", clock, {2}, &order)}, options, clock);
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ(order, "aaaa");
  EXPECT_THAT((*samples)[0].repeats, SizeIs(3));
}

TEST(MeasureTest, RetriesUntilWarmUpAndRepeatsAgree) {
  FakeClock clock;
  // Unmeasured twice; warm-up 9 against 1, 1, 1; then all 1.
  const auto samples = Measure({Scripted("a", clock, {1, 1, 9, 1})}, OneCallASample(3), clock);
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ((*samples)[0].warm_up, 1);
}

TEST(MeasureTest, RefusesAfterTheLastRetry) {
  FakeClock clock;
  std::vector<double> seconds = {1, 1};
  for (int attempt = 0; attempt < 3; ++attempt) seconds.insert(seconds.end(), {9, 1, 1});
  const auto samples = Measure({Scripted("a", clock, seconds)}, OneCallASample(2), clock);
  EXPECT_TRUE(absl::IsUnavailable(samples.status()));
  EXPECT_THAT(std::string(samples.status().message()), HasSubstr("attempts 3"));
}

TEST(MeasureTest, PreparesBeforeEachSampleWithoutTimingIt) {
  FakeClock clock;
  int prepared = 0;
  const Contender contender = {"a", [&] { clock.AdvanceSeconds(1); },
                               [&] {
                                 clock.AdvanceSeconds(100);
                                 ++prepared;
                               }};
  const auto samples = Measure({contender}, OneCallASample(2), clock);
  ASSERT_TRUE(samples.ok());
  EXPECT_EQ(prepared, 5);
  EXPECT_THAT((*samples)[0].repeats, ElementsAre(1, 1));
}

TEST(MeasureOnceTest, TimesBothAndSaysThatNothingWasRepeated) {
  FakeClock clock;
  const Samples samples = MeasureOnce(
      "long", [&] { clock.AdvanceSeconds(1); }, [&] { clock.AdvanceSeconds(60); }, clock);
  EXPECT_EQ(samples.warm_up, 1);
  EXPECT_THAT(samples.repeats, ElementsAre(60));
}

}  // namespace
}  // namespace longwave
