#include "server/scheduling/stepped_scheduler.h"

#include "tests/unit/scheduling/scheduler_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST_F(SchedulerTest, ASequenceIsComputedAndItsTimesAreTold) {
  const Consumer consumer = Submit(25);
  clock_.AdvanceSeconds(1);
  Run();
  EXPECT_TRUE(consumer->ok());
  EXPECT_EQ(consumer->values, encoder_->ExpectedRows(Ids(25, 7), {}));
  EXPECT_DOUBLE_EQ(Seconds(consumer->times.popped), 1);
  EXPECT_DOUBLE_EQ(Seconds(consumer->times.first_step), 1);
  EXPECT_NEAR(Seconds(consumer->times.last_row), 1.025, 1e-9);
  EXPECT_EQ(consumer->times.batch_tokens, 25);
  EXPECT_EQ(consumer->times.batch_sequences, 1);
  EXPECT_THAT(observer_.batches, ElementsAre(Pair(1, 25)));
  EXPECT_THAT(observer_.slices, AllNear({0.01, 0.01, 0.005}));
  ASSERT_EQ(observer_.jobs.size(), 1);
  EXPECT_THAT(observer_.jobs[0], AllNear({25, 0.025, 0.025}));
}

TEST_F(SchedulerTest, NothingIsThereToRun) { EXPECT_FALSE(scheduler().RunOnce()); }

TEST_F(SchedulerTest, WhatWaitsTogetherRidesTogether) {
  const std::vector<Consumer> consumers = SubmitMany({5, 6, 7});
  const Consumer other = Submit(8);
  EXPECT_EQ(scheduler().View().queued_sequences, 4);
  EXPECT_EQ(scheduler().View().queued_tokens, 26);
  EXPECT_NEAR(scheduler().View().queued_seconds, 0.026, 1e-9);
  RunSlices(1);
  EXPECT_EQ(scheduler().View().queued_sequences, 0);
  EXPECT_EQ(scheduler().View().running_sequences, 3) << "the first of them has ended";
  EXPECT_NEAR(scheduler().View().running_seconds, 0.016, 1e-9);
  EXPECT_EQ(scheduler().View().resident_bytes, 26);
  Run();
  EXPECT_THAT(observer_.batches, ElementsAre(Pair(4, 26)));
  for (const Consumer& consumer : consumers) EXPECT_TRUE(consumer->ok());
  EXPECT_TRUE(other->ok());
  EXPECT_EQ(other->times.batch_sequences, 4);
}

TEST_F(SchedulerTest, ALongSequenceRidesAlone) {
  const std::vector<Consumer> consumers = SubmitMany({300, 10, 10});
  Run();
  EXPECT_THAT(observer_.batches, ElementsAre(Pair(1, 300), Pair(2, 20)));
}

TEST_F(SchedulerTest, EmptyRequestAndExpiredDeadlineAreRefused) {
  EXPECT_EQ(GetErrorDetails(Refused({})).reason, ErrorReason::kEmptyRequest);
  EXPECT_EQ(GetErrorDetails(Refused({1}, clock_.Now())).reason, ErrorReason::kDeadlineExpired);
  EXPECT_EQ(GetErrorDetails(Refused({1}, clock_.Now() - Nanoseconds(1))).reason,
            ErrorReason::kDeadlineExpired);
  Submit(1, Priority::kInteractive, In(0.01));
}

TEST_F(SchedulerTest, TheQueueIsBoundedInSequences) {
  options_.admission.max_queue_sequences = 3;
  SubmitMany({10, 20});
  const absl::Status status = Refused({1, 1});
  EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kQueueFull);
  EXPECT_EQ(GetErrorDetails(status).limit, "3 sequences");
  ASSERT_TRUE(GetErrorDetails(status).retry_after.has_value());
  EXPECT_NEAR(ToSeconds(*GetErrorDetails(status).retry_after), 0.030, 1e-9);
  Submit(1);
  RunSlices(1);
  Submit(1);  // what is computed is not in the queue
}

TEST_F(SchedulerTest, TheQueueIsBoundedInTokens) {
  options_.admission.max_queue_tokens = 100;
  SubmitMany({60, 40});
  EXPECT_EQ(GetErrorDetails(Refused({1})).limit, "100 tokens");
}

TEST_F(SchedulerTest, WhatAnEmptyQueueWouldNotTakeIsNotWorthAnotherTry) {
  options_.admission.max_queue_sequences = 3;
  options_.admission.max_queue_tokens = 100;
  EXPECT_FALSE(GetErrorDetails(Refused({1, 1, 1, 1})).retry_after.has_value());
  EXPECT_FALSE(GetErrorDetails(Refused({101})).retry_after.has_value());
}

TEST_F(SchedulerTest, TheWaitThatIsPredictedCountsWhatIsComputed) {
  options_.admission.max_queue_sequences = 1;
  Submit(1000);
  RunSlices(40);
  Submit(20);
  EXPECT_NEAR(ToSeconds(*GetErrorDetails(Refused({1})).retry_after), 0.62, 1e-9);
}

TEST_F(SchedulerTest, ASequenceThatNeedsMoreThanAllMemoryIsRefused) {
  options_.max_resident_bytes = 1000;
  const absl::Status status = Refused({10, 1001});
  EXPECT_EQ(GetErrorDetails(status).reason, ErrorReason::kMemoryFull);
  EXPECT_EQ(GetErrorDetails(status).limit, "1000 bytes");
  EXPECT_FALSE(GetErrorDetails(status).retry_after.has_value());
  const Consumer consumer = Submit(1000);
  Run();
  EXPECT_TRUE(consumer->ok());
}

TEST_F(SchedulerTest, TicketsAreNotUsedAgain) {
  SubmitMany({1, 2, 3});
  const Scheduler::Ticket first = ticket_;
  Run();
  Submit(1);
  EXPECT_GT(ticket_, first);
}

TEST_F(SchedulerTest, CancelEndsWhatWaitsAtOnce) {
  const std::vector<Consumer> consumers = SubmitMany({10, 20});
  const Scheduler::Ticket ticket = ticket_;
  const Consumer other = Submit(5);
  scheduler().Cancel(ticket, MakeError(ErrorReason::kCancelled, "gone"));
  for (const Consumer& consumer : consumers) {
    EXPECT_EQ(consumer->reason(), ErrorReason::kCancelled);
    EXPECT_THAT(std::string(consumer->end->message()), HasSubstr("gone"));
  }
  EXPECT_EQ(scheduler().View().queued_sequences, 1);
  Run();
  EXPECT_TRUE(other->ok());
  EXPECT_EQ(encoder_->step_calls(), 1);
}

TEST_F(SchedulerTest, CancelEndsWhatIsComputedAtTheNextSlice) {
  const std::vector<Consumer> consumers = SubmitMany({100, 100});
  const Scheduler::Ticket ticket = ticket_;
  const Consumer other = Submit(50);
  RunSlices(2);
  scheduler().Cancel(ticket, MakeError(ErrorReason::kCancelled, "gone"));
  EXPECT_FALSE(consumers[0]->end.has_value());
  Run();
  EXPECT_EQ(consumers[0]->reason(), ErrorReason::kCancelled);
  EXPECT_EQ(consumers[1]->reason(), ErrorReason::kCancelled);
  EXPECT_TRUE(other->ok());
  // The shortest request is the first in the batch: its 50 tokens are all that was computed.
  EXPECT_EQ(encoder_->step_calls(), 5);
}

TEST_F(SchedulerTest, CancelOfAnEndedOrUnknownTicketIsIgnored) {
  const Consumer consumer = Submit(5);
  Run();
  scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "late"));
  scheduler().Cancel(12345, MakeError(ErrorReason::kCancelled, "unknown"));
  scheduler().OnSinkReady(ticket_);
  scheduler().OnSinkReady(12345);
  Run();
  EXPECT_TRUE(consumer->ok());
}

TEST_F(SchedulerTest, CancelWithoutAReasonIsStillAnError) {
  const Consumer consumer = Submit(5);
  scheduler().Cancel(ticket_, absl::OkStatus());
  EXPECT_EQ(consumer->reason(), ErrorReason::kCancelled);
}

TEST_F(SchedulerTest, AConsumerMayCancelItsMatesFromItsEnd) {
  encoder_options_.poison_id = 7;
  const std::vector<Consumer> consumers = SubmitMany({10, 10, 300});
  consumers[0]->on_end = [&] {
    scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "a mate failed"));
  };
  Run();
  EXPECT_EQ(consumers[0]->reason(), ErrorReason::kNonFinite);
  EXPECT_EQ(consumers[2]->reason(), ErrorReason::kCancelled);
}

TEST_F(SchedulerTest, AnExpiredSequenceIsNeverComputed) {
  const Consumer consumer = Submit(10, Priority::kInteractive, In(0.5));
  const Consumer other = Submit(10, Priority::kInteractive, In(0.6));
  clock_.AdvanceSeconds(0.5);
  Run();
  EXPECT_EQ(consumer->reason(), ErrorReason::kDeadlineExpired);
  EXPECT_EQ(consumer->times.popped, Instant{});
  EXPECT_TRUE(other->ok());
  EXPECT_EQ(other->times.batch_sequences, 1);
}

TEST_F(SchedulerTest, WhatExpiresInTheQueueIsToldBetweenTheSlicesOfOthers) {
  PredictTooLittle();
  Submit(10'000);
  RunSlices(1);
  const Consumer late = Submit(5000, Priority::kBatch, In(0.025));
  RunSlices(3);
  EXPECT_FALSE(late->end.has_value());
  RunSlices(1);
  EXPECT_EQ(late->reason(), ErrorReason::kDeadlineExpired);
}

TEST_F(SchedulerTest, WhatExpiresWhileItIsComputedStopsAtTheNextSlice) {
  PredictTooLittle();
  const Consumer late = Submit(100, Priority::kInteractive, In(0.035));
  const Consumer other = Submit(100);
  RunSlices(4);
  EXPECT_FALSE(late->end.has_value());
  Run();
  EXPECT_EQ(late->reason(), ErrorReason::kDeadlineExpired);
  EXPECT_TRUE(other->ok());
  EXPECT_EQ(encoder_->step_calls(), 4 + 10);
}

TEST_F(SchedulerTest, AJobWhoseMembersAllLeftIsDropped) {
  const Consumer consumer = Submit(1000);
  RunSlices(1);
  EXPECT_EQ(encoder_->live_jobs(), 1);
  scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "gone"));
  EXPECT_FALSE(scheduler().RunOnce());
  EXPECT_EQ(encoder_->live_jobs(), 0);
  EXPECT_TRUE(observer_.jobs.empty()) << "an unfinished job says nothing of the prediction";
}

TEST_F(SchedulerTest, AStreamIsPacedByItsReader) {
  const Consumer reader = SubmitStream(30, 10);
  Run();
  EXPECT_EQ(reader->rows, 10);
  EXPECT_FALSE(reader->end.has_value());
  const int64_t steps = encoder_->step_calls();
  Run();
  EXPECT_EQ(encoder_->step_calls(), steps) << "a blocked job is not stepped";
  reader->room = 100;
  scheduler().OnSinkReady(ticket_);
  Run();
  EXPECT_TRUE(reader->ok());
  EXPECT_EQ(reader->values, encoder_->ExpectedRows(Ids(30, 7), {.pooling = Pooling::kRows}));
  EXPECT_THAT(reader->progress, AllNear({1.0 / 3, 2.0 / 3}));
}

TEST_F(SchedulerTest, ABlockedStreamHoldsUpNobody) {
  const Consumer reader = SubmitStream(30, 0);
  Run();
  const Consumer other = Submit(10);
  Run();
  EXPECT_TRUE(other->ok());
  EXPECT_FALSE(reader->end.has_value());
  EXPECT_EQ(scheduler().View().paused_jobs, 1);
}

TEST_F(SchedulerTest, AReadersReadinessWakesItsOwnJobOnly) {
  const Consumer one = SubmitStream(30, 0);
  const Scheduler::Ticket ticket = ticket_;
  const Consumer other = SubmitStream(30, 0);
  Run();
  const int64_t steps = encoder_->step_calls();
  scheduler().OnSinkReady(ticket);
  Run();
  EXPECT_EQ(encoder_->step_calls(), steps + 1) << "offered again, refused again";
  EXPECT_FALSE(one->end.has_value());
  EXPECT_FALSE(other->end.has_value());
}

TEST_F(SchedulerTest, ReadinessDuringTheSliceThatBlocksIsNotLost) {
  const Consumer reader = SubmitStream(30, 0);
  // The reader makes room and says so while the job's Step has not returned yet.
  class Eager final : public SequenceConsumer {
   public:
    Eager(SteppedScheduler* scheduler, Scheduler::Ticket* ticket)
        : scheduler_(*scheduler), ticket_(*ticket) {}
    RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
      if (refused_) return RowSink::Answer::kTaken;
      refused_ = true;
      scheduler_.OnSinkReady(ticket_);
      return RowSink::Answer::kRefused;
    }
    void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
      ended = result.ok();
    }
    bool ended = false;

   private:
    SteppedScheduler& scheduler_;
    Scheduler::Ticket& ticket_;
    bool refused_ = false;
  };
  Scheduler::Ticket ticket = 0;
  auto eager = std::make_shared<Eager>(&scheduler(), &ticket);
  std::vector<SequenceTask> tasks;
  tasks.push_back({.model = model_,
                   .token_ids = Ids(30, 1),
                   .output = {.pooling = Pooling::kRows},
                   .streamed = true,
                   .consumer = eager});
  ticket = *scheduler().Submit(std::move(tasks), {});
  Run();
  EXPECT_TRUE(eager->ended);
  EXPECT_FALSE(reader->end.has_value());
}

TEST_F(SchedulerTest, AReaderThatStallsForTooLongIsLeft) {
  options_.max_stall_seconds = 2;
  const Consumer reader = SubmitStream(30, 10);
  Run();
  clock_.AdvanceSeconds(1.99);
  Run();
  EXPECT_FALSE(reader->end.has_value());
  clock_.AdvanceSeconds(0.01);
  Run();
  EXPECT_EQ(reader->reason(), ErrorReason::kSlowReader);
  EXPECT_EQ(GetErrorDetails(*reader->end).limit, "2 s");
  EXPECT_EQ(encoder_->live_jobs(), 0);
}

TEST_F(SchedulerTest, OnlyRowsThatAreTakenEndAStall) {
  options_.max_stall_seconds = 2;
  encoder_options_.info.dim = 1 << 14;  // five rows are worth two seconds and a half
  const Consumer says_ready = SubmitStream(30, 10);
  const Scheduler::Ticket liar = ticket_;
  const Consumer takes_some = SubmitStream(30, 10);
  const Scheduler::Ticket slow = ticket_;
  Run();
  for (int i = 0; i < 2; ++i) {
    clock_.AdvanceSeconds(1.5);
    scheduler().OnSinkReady(liar);
    takes_some->room = 5;
    scheduler().OnSinkReady(slow);
    Run();
  }
  EXPECT_EQ(says_ready->reason(), ErrorReason::kSlowReader);
  EXPECT_FALSE(takes_some->end.has_value());
}

// Who takes a little now and then would keep the places of paused jobs from all others.
TEST_F(SchedulerTest, AReaderThatTakesTooLittleIsLeftToo) {
  options_.max_stall_seconds = 2;
  options_.max_paused_jobs = 1;
  const Consumer trickles = SubmitStream(300, 10);
  const Scheduler::Ticket slow = ticket_;
  Run();
  const Consumer other = SubmitStream(30, 30);
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(trickles->end.has_value());
    clock_.AdvanceSeconds(1.5);
    trickles->room = 5;
    scheduler().OnSinkReady(slow);
    Run();
  }
  clock_.AdvanceSeconds(0.01);
  Run();
  EXPECT_EQ(trickles->reason(), ErrorReason::kSlowReader);
  EXPECT_TRUE(other->ok());
}

TEST_F(SchedulerTest, WaitingForItsTurnIsNotTheReadersFault) {
  options_.max_stall_seconds = 2;
  const Consumer reader = SubmitStream(300, 10);
  const Scheduler::Ticket ticket = ticket_;
  Run();
  for (int i = 0; i < 10; ++i) {
    clock_.AdvanceSeconds(0.1);
    reader->room = 10;
    scheduler().OnSinkReady(ticket);
    // Read by the executor, which has something else to do for a second.
    Submit(10, Priority::kInteractive);
    RunSlices(1);
    clock_.AdvanceSeconds(1);
    Run();
  }
  EXPECT_FALSE(reader->end.has_value());
  scheduler().Cancel(ticket, MakeError(ErrorReason::kCancelled, "gone"));
}

TEST_F(SchedulerTest, ABlockedStreamCanBeCancelledAndExpires) {
  const Consumer cancelled = SubmitStream(30, 0);
  const Scheduler::Ticket ticket = ticket_;
  const Consumer expiring = Submit(30, Priority::kInteractive, In(1), {.pooling = Pooling::kRows},
                                   /*streamed=*/true);
  expiring->room = 0;
  Run();
  scheduler().Cancel(ticket, MakeError(ErrorReason::kCancelled, "gone"));
  clock_.AdvanceSeconds(1);
  Run();
  EXPECT_EQ(cancelled->reason(), ErrorReason::kCancelled);
  EXPECT_EQ(expiring->reason(), ErrorReason::kDeadlineExpired);
}

TEST_F(SchedulerTest, DrainingRefusesTheNewAndFinishesTheOld) {
  const Consumer old = Submit(30);
  RunSlices(1);
  const Consumer waiting = Submit(300);
  scheduler().BeginDrain();
  EXPECT_EQ(GetErrorDetails(Refused({1})).reason, ErrorReason::kDraining);
  Run();
  EXPECT_TRUE(old->ok());
  EXPECT_TRUE(waiting->ok());
  EXPECT_TRUE(scheduler().AwaitIdle(Instant::min()));
}

TEST_F(SchedulerTest, ADrainThatTakesTooLongEndsWhatIsLeft) {
  const Consumer running = Submit(300);
  RunSlices(2);
  const Consumer waiting = Submit(400);
  scheduler().BeginDrain();
  EXPECT_FALSE(scheduler().AwaitIdle(Instant::min()));
  EXPECT_EQ(running->reason(), ErrorReason::kDraining);
  EXPECT_EQ(waiting->reason(), ErrorReason::kDraining);
  EXPECT_EQ(running->end->code(), absl::StatusCode::kUnavailable);
  Run();
  EXPECT_EQ(encoder_->step_calls(), 2);
  EXPECT_TRUE(scheduler().AwaitIdle(Instant::min()));
}

}  // namespace
}  // namespace longwave
