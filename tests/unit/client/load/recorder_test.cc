#include "client/load/recorder.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/unit/client/load/fake_run.h"

namespace longwave::load {
namespace {

using Code = absl::StatusCode;

class RecorderTest : public testing::Test {
 protected:
  RecorderTest() : calls_(EvenCalls(20, 1)) {}
  Recorder Make(double deadline, double warmup = 0) {
    return Recorder({.deadline_seconds = {deadline}, .warmup_seconds = warmup, .total_seconds = 20},
                    calls_, &clock_);
  }
  // Sends a call when it is due and ends it so much later.
  void End(Recorder& recorder, int64_t number, CallResult result, double latency = 0.1) {
    clock_.SleepUntil(calls_[number].due_seconds);
    recorder.OnSent(number);
    clock_.SleepUntil(calls_[number].due_seconds + latency);
    recorder.OnDone(number, std::move(result));
  }

  std::vector<PlannedCall> calls_;
  FakeLoadClock clock_;
};

TEST_F(RecorderTest, CountsEachKindOfEndOnce) {
  Recorder recorder = Make(0.5);
  calls_[7].cancel_after_seconds = 0.05f;
  End(recorder, 0, {});
  End(recorder, 1, {}, 0.6);  // OK, but late
  End(recorder, 2, {.content = 5});
  End(recorder, 3, {.code = Code::kResourceExhausted, .reason = "QUEUE_FULL"}, 0.001);
  End(recorder, 4, {.code = Code::kUnavailable, .reason = "DRAINING"}, 0.002);
  End(recorder, 5, {.code = Code::kDeadlineExceeded}, 0.5);
  End(recorder, 6, {.code = Code::kInternal});
  End(recorder, 7, {.code = Code::kCancelled});
  const LoadResult result = recorder.Take();
  const GroupResult& group = result.groups[0];
  EXPECT_EQ(group.offered, 8);
  EXPECT_EQ(group.offered_tokens, 800);
  EXPECT_EQ(group.good, 1);
  EXPECT_EQ(group.good_tokens, 100);
  EXPECT_EQ(group.late, 1);
  EXPECT_EQ(group.wrong, 1);
  EXPECT_EQ(group.shed, 2);
  EXPECT_EQ(group.expired, 1);
  EXPECT_EQ(group.failed, 1);
  EXPECT_EQ(group.cancelled, 1);
  EXPECT_EQ(group.latency.count(), 1);
  EXPECT_EQ(group.shed_latency.count(), 2);
  EXPECT_NEAR(group.shed_latency.max_seconds(), 0.002, 1e-6);
  ASSERT_EQ(group.endings.count("RESOURCE_EXHAUSTED QUEUE_FULL"), 1u);
  EXPECT_EQ(group.endings.at("RESOURCE_EXHAUSTED QUEUE_FULL").calls, 1);
  EXPECT_EQ(group.endings.at("OK").calls, 3);
}

TEST_F(RecorderTest, ACancellationThatWasNotPlannedIsAFailure) {
  Recorder recorder = Make(0.5);
  End(recorder, 0, {.code = Code::kCancelled});
  EXPECT_EQ(recorder.Take().groups[0].failed, 1);
}

TEST_F(RecorderTest, TheWarmUpIsNotCountedButItsRepliesAreLearnedFrom) {
  Recorder recorder = Make(0.5, 2.5);
  End(recorder, 0, {.content = 1});
  End(recorder, 5, {.content = 1});
  End(recorder, 6, {.content = 2});
  const LoadResult result = recorder.Take();
  EXPECT_EQ(result.groups[0].offered, 2);
  EXPECT_EQ(result.groups[0].good, 1);
  EXPECT_EQ(result.groups[0].wrong, 1);
  EXPECT_EQ(result.lateness.count(), 2);
  EXPECT_EQ(result.seconds, 17.5);
}

TEST_F(RecorderTest, IntervalsAreThoseInWhichCallsWereDue) {
  Recorder recorder = Make(5.0);
  End(recorder, 2, {}, 3.0);
  End(recorder, 6, {.code = Code::kResourceExhausted});
  const LoadResult result = recorder.Take();
  ASSERT_GE(result.intervals[0].size(), 20u);
  EXPECT_EQ(result.intervals[0][3].good, 1);  // due at 3 s
  EXPECT_EQ(result.intervals[0][6].good, 0);
  EXPECT_EQ(result.intervals[0][7].shed, 1);
  EXPECT_EQ(result.intervals[0][7].offered, 1);
}

TEST_F(RecorderTest, OverheadIsWhatTheServerDidNotCompute) {
  Recorder recorder = Make(5.0);
  End(recorder, 0, {.queue_seconds = 0.05, .compute_seconds = 0.15, .server_seconds = 0.25}, 0.4);
  const GroupResult group = recorder.Take().groups[0];
  EXPECT_NEAR(group.overhead.max_seconds(), 0.25, 1e-6);
  EXPECT_NEAR(group.queue.max_seconds(), 0.05, 1e-6);
  EXPECT_NEAR(group.compute.max_seconds(), 0.15, 1e-6);
}

TEST_F(RecorderTest, ALateGeneratorIsNoOverhead) {
  Recorder recorder = Make(5.0);
  clock_.SleepUntil(1.5);
  recorder.OnSent(0);  // due at 1 s
  clock_.SleepUntil(1.9);
  recorder.OnDone(0, {.compute_seconds = 0.1});
  const GroupResult group = recorder.Take().groups[0];
  EXPECT_NEAR(group.latency.max_seconds(), 0.9, 1e-3);
  EXPECT_NEAR(group.since_sent.max_seconds(), 0.4, 1e-6);
  EXPECT_NEAR(group.overhead.max_seconds(), 0.3, 1e-6);
}

TEST_F(RecorderTest, WhatEndsBehindTheEndIsLeftOver) {
  Recorder recorder = Make(5.0);
  recorder.OnSent(0);
  recorder.OnSent(1);
  recorder.EndSending();
  recorder.OnDone(0, {});
  recorder.Close();
  EXPECT_EQ(recorder.in_flight(), 1);
  recorder.OnDone(1, {.code = Code::kCancelled});
  const GroupResult group = recorder.Take().groups[0];
  EXPECT_EQ(group.in_flight_at_end, 2);
  EXPECT_EQ(group.good, 1);
  EXPECT_EQ(group.left, 1);
  EXPECT_EQ(group.failed, 0);
}

}  // namespace
}  // namespace longwave::load
