#include "client/load/runner.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "tests/unit/client/load/fake_run.h"

namespace longwave::load {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct World {
  explicit World(std::vector<PlannedCall> planned, double deadline = kNever, double total = 10)
      : calls(std::move(planned)),
        recorder({.deadline_seconds = {deadline}, .total_seconds = total}, calls, &clock),
        sender(&clock, &recorder),
        total_seconds(total) {}
  LoadResult Run() {
    RunSchedule(calls, total_seconds, options, &sender, &recorder, &clock);
    return recorder.Take();
  }

  std::vector<PlannedCall> calls;
  FakeLoadClock clock;
  Recorder recorder;
  FakeSender sender;
  RunOptions options;
  double total_seconds;
};

TEST(RunnerTest, SendsEachCallWhenItIsDueThoughNoneIsAnswered) {
  World world(EvenCalls(9, 1), kNever, 10);
  world.sender.latency = [](const PlannedCall&) { return 1000.0; };
  const LoadResult result = world.Run();
  EXPECT_EQ(world.sender.sent, (std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(result.groups[0].offered, 9);
  EXPECT_EQ(result.groups[0].in_flight_at_end, 9);
  EXPECT_EQ(result.groups[0].left, 9);
  EXPECT_EQ(world.clock.Now(), 10 + world.options.drain_seconds);
}

TEST(RunnerTest, LatencyCountsFromWhenTheCallWasDueNotFromWhenItWasSent) {
  World world(EvenCalls(5, 1));
  world.clock.oversleep = 0.3;
  world.sender.latency = [](const PlannedCall&) { return 0.5; };
  const LoadResult result = world.Run();
  EXPECT_NEAR(result.groups[0].latency.min_seconds(), 0.8, 1e-6);
  EXPECT_NEAR(result.lateness.max_seconds(), 0.3, 1e-6);
}

TEST(RunnerTest, AStallOfTheGeneratorIsInTheLatenciesOfAllCallsThatWereDue) {
  World world(EvenCalls(4, 1));
  // The machine is away for three seconds while the first call is sent.
  bool first = true;
  world.sender.latency = [&](const PlannedCall&) {
    if (first) world.clock.Lose(3);
    first = false;
    return 0.0;
  };
  const LoadResult result = world.Run();
  EXPECT_NEAR(result.lateness.max_seconds(), 2, 1e-6);
  EXPECT_NEAR(result.groups[0].latency.max_seconds(), 3, 1e-6);
  EXPECT_NEAR(result.groups[0].latency.mean_seconds(), (3 + 2 + 1 + 0) / 4.0, 1e-6);
}

TEST(RunnerTest, CancelsWhatIsToBeCancelledAtItsTime) {
  auto calls = EvenCalls(3, 1);
  calls[0].cancel_after_seconds = 1.5;
  calls[2].cancel_after_seconds = 0.25;
  World world(calls);
  world.sender.latency = [](const PlannedCall&) { return 5.0; };
  double first_cancelled = 0;
  world.clock.At(2.5, [&] { first_cancelled = world.recorder.in_flight(); });
  const LoadResult result = world.Run();
  EXPECT_EQ(world.sender.cancelled, (std::vector<int64_t>{0, 2}));
  EXPECT_EQ(first_cancelled, 2);  // two were sent by then; the first goes at that moment
  EXPECT_EQ(result.groups[0].cancelled, 2);
  EXPECT_EQ(result.groups[0].good, 1);
}

TEST(RunnerTest, CancellationsBehindTheEndOfSendingStillHappen) {
  auto calls = EvenCalls(1, 1);
  calls[0].cancel_after_seconds = 20;
  World world(calls);
  world.sender.latency = [](const PlannedCall&) { return kNever; };
  const LoadResult result = world.Run();
  EXPECT_EQ(result.groups[0].cancelled, 1);
  EXPECT_EQ(result.groups[0].left, 0);
}

TEST(RunnerTest, DoesNotSendBeyondTheBoundAndSaysSo) {
  World world(EvenCalls(9, 1));
  world.options.max_in_flight = 2;
  world.sender.latency = [](const PlannedCall&) { return kNever; };
  const LoadResult result = world.Run();
  EXPECT_EQ(world.sender.sent.size(), 2u);
  EXPECT_EQ(result.not_sent, 7);
}

TEST(RunnerTest, WaitsNoLongerThanTheLastAnswer) {
  World world(EvenCalls(3, 1), kNever, 4);
  world.sender.latency = [](const PlannedCall&) { return 3.0; };
  const LoadResult result = world.Run();
  EXPECT_EQ(world.clock.Now(), 6);
  EXPECT_EQ(result.groups[0].good, 3);
  EXPECT_EQ(result.groups[0].left, 0);
}

TEST(RunnerTest, TellsItsProgress) {
  World world(EvenCalls(3, 1), kNever, 4);
  std::vector<double> told;
  world.options.progress = [&](double share) { told.push_back(share); };
  world.Run();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back(), 1);
  EXPECT_TRUE(std::is_sorted(told.begin(), told.end()));
}

}  // namespace
}  // namespace longwave::load
