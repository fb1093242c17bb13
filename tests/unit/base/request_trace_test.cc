#include "model/base/request_trace.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

Instant At(int64_t nanoseconds) { return Instant(Nanoseconds(nanoseconds)); }

RequestTrace WholeTrace() {
  RequestTrace trace;
  trace.arrived = At(100);
  trace.decoded = At(110);
  trace.admitted = At(130);
  trace.popped = At(170);
  trace.first_step = At(171);
  trace.last_row = At(500);
  trace.serialised = At(540);
  trace.finished = At(547);
  return trace;
}

int64_t SumOfStages(const StageTimes& t) {
  return (t.receive + t.validate + t.queue + t.compute + t.serialise + t.other).count();
}

TEST(RequestTrace, StagesLieBetweenTheirStamps) {
  const StageTimes times = WholeTrace().Stages();
  EXPECT_EQ(times.receive.count(), 10);
  EXPECT_EQ(times.validate.count(), 20);
  EXPECT_EQ(times.queue.count(), 40);
  EXPECT_EQ(times.compute.count(), 329);
  EXPECT_EQ(times.serialise.count(), 40);
  EXPECT_EQ(times.other.count(), 1 + 7);
  EXPECT_EQ(times.total.count(), 447);
}

TEST(RequestTrace, StagesAddUpHoweverFarTheRequestCame) {
  for (int reached = 0; reached <= 6; ++reached) {
    RequestTrace trace = WholeTrace();
    Instant* const stamps[] = {&trace.decoded,    &trace.admitted, &trace.popped,
                               &trace.first_step, &trace.last_row, &trace.serialised};
    for (int stamp = reached; stamp < 6; ++stamp) *stamps[stamp] = Instant{};
    const StageTimes times = trace.Stages();
    EXPECT_EQ(SumOfStages(times), times.total.count()) << reached;
    EXPECT_GE(times.other.count(), 0) << reached;
  }
}

TEST(RequestTrace, AStageThatWasNotReachedIsZero) {
  RequestTrace trace;
  trace.arrived = At(100);
  trace.decoded = At(110);
  trace.finished = At(115);
  const StageTimes times = trace.Stages();
  EXPECT_EQ(times.receive.count(), 10);
  EXPECT_EQ(times.validate.count(), 0);
  EXPECT_EQ(times.queue.count(), 0);
  EXPECT_EQ(times.compute.count(), 0);
  EXPECT_EQ(times.other.count(), 5);
}

TEST(RequestTrace, SequencesMergeToFirstPopFirstStepAndLastRow) {
  RequestTrace trace;
  trace.MergeSequence(At(30), At(40), At(90));
  trace.MergeSequence(At(20), At(50), At(80));
  EXPECT_EQ(trace.popped, At(20));
  EXPECT_EQ(trace.first_step, At(40));
  EXPECT_EQ(trace.last_row, At(90));
  // One that was cancelled in the queue has no stamps.
  trace.MergeSequence(Instant{}, Instant{}, Instant{});
  EXPECT_EQ(trace.popped, At(20));
  EXPECT_EQ(trace.first_step, At(40));
  EXPECT_EQ(trace.last_row, At(90));
}

}  // namespace
}  // namespace longwave
