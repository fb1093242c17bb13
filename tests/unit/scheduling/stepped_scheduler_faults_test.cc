#include "tests/unit/scheduling/scheduler_fixture.h"

namespace longwave {
namespace {

using Kind = FakeFault::Kind;
using At = FakeFault::At;
using ::testing::ElementsAre;
using ::testing::Pair;

using SchedulerFaults = SchedulerTest;

TEST_F(SchedulerFaults, AJobsErrorEndsEveryMemberThatHadNotEnded) {
  encoder_options_.faults = {{Kind::kJobError, At::kStep, 1}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10, 10});
  Run();
  EXPECT_TRUE(consumers[0]->ok());
  EXPECT_EQ(consumers[1]->end->code(), absl::StatusCode::kInternal);
  EXPECT_EQ(consumers[2]->end->code(), absl::StatusCode::kInternal);
  const Consumer next = Submit(10);
  Run();
  EXPECT_TRUE(next->ok());
}

TEST_F(SchedulerFaults, AnErrorOfBeginIsTheSame) {
  encoder_options_.faults = {{Kind::kJobError, At::kBegin, 0}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10});
  Run();
  for (const Consumer& consumer : consumers) {
    EXPECT_EQ(consumer->end->code(), absl::StatusCode::kInternal);
  }
}

TEST_F(SchedulerFaults, OneBadRowHurtsItsSequenceOnly) {
  encoder_options_.faults = {{Kind::kNonFiniteRow, At::kStep, 0, 1}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10, 10});
  Run();
  EXPECT_TRUE(consumers[0]->ok());
  EXPECT_EQ(consumers[1]->reason(), ErrorReason::kNonFinite);
  EXPECT_TRUE(consumers[2]->ok());
  EXPECT_TRUE(observer_.jobs.empty());
}

TEST_F(SchedulerFaults, ABatchThatRunsOutOfMemoryIsTriedSinglyOnce) {
  encoder_options_.out_of_memory_above_tokens = 25;
  const std::vector<Consumer> consumers = SubmitMany({10, 20, 26, 5});
  Run();
  EXPECT_TRUE(consumers[0]->ok());
  EXPECT_TRUE(consumers[1]->ok());
  EXPECT_EQ(consumers[2]->reason(), ErrorReason::kOutOfMemory);
  EXPECT_TRUE(consumers[3]->ok());
  EXPECT_EQ(consumers[1]->values, encoder_->ExpectedRows(Ids(20, 14), {}));
  EXPECT_EQ(consumers[1]->times.batch_sequences, 1);
  EXPECT_THAT(observer_.batches,
              ElementsAre(Pair(4, 61), Pair(1, 10), Pair(1, 20), Pair(1, 26), Pair(1, 5)));
}

TEST_F(SchedulerFaults, OutOfMemoryAtBeginIsTriedAgainToo) {
  encoder_options_.faults = {{Kind::kOutOfMemory, At::kBegin, 0}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10});
  Run();
  EXPECT_TRUE(consumers[0]->ok());
  EXPECT_TRUE(consumers[1]->ok());
}

TEST_F(SchedulerFaults, ASecondTryGoesOnWhereTheReaderWas) {
  // The first member's rows come in blocks of five; memory runs out after some of them.
  encoder_options_.faults = {{Kind::kOutOfMemory, At::kStep, 2}};
  const OutputSpec rows{.pooling = Pooling::kRows};
  const Consumer first = Submit(45, Priority::kInteractive, kNever, rows);
  const Consumer second = Submit(45, Priority::kInteractive, kNever, rows);
  RunSlices(2);
  EXPECT_EQ(first->rows, 20);
  EXPECT_EQ(first->times.batch_sequences, 0) << "not told yet";
  encoder_options_.rows_per_offer = 7;
  Run();
  EXPECT_TRUE(first->ok());
  EXPECT_EQ(first->values, encoder_->ExpectedRows(Ids(45, 7), rows));
  EXPECT_TRUE(second->ok());
  EXPECT_EQ(second->values, encoder_->ExpectedRows(Ids(45, 14), rows));
  EXPECT_DOUBLE_EQ(Seconds(first->times.first_step), 0) << "of the first try";
}

TEST_F(SchedulerFaults, ASingleSequenceThatRunsOutOfMemoryFails) {
  encoder_options_.faults = {{Kind::kOutOfMemory, At::kStep, 0}};
  const Consumer consumer = Submit(10);
  Run();
  EXPECT_EQ(consumer->reason(), ErrorReason::kOutOfMemory);
  EXPECT_EQ(encoder_->step_calls(), 1);
}

TEST_F(SchedulerFaults, CancelReachesWhatWaitsForItsSecondTry) {
  encoder_options_.faults = {{Kind::kOutOfMemory, At::kStep, 0}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10});
  RunSlices(1);
  EXPECT_EQ(scheduler().View().queued_sequences, 2);
  scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "gone"));
  EXPECT_EQ(consumers[0]->reason(), ErrorReason::kCancelled);
  Run();
  EXPECT_EQ(encoder_->step_calls(), 1);
}

TEST_F(SchedulerFaults, CancelDuringTheSliceThatFailsIsNotLost) {
  encoder_options_.faults = {{Kind::kOutOfMemory, At::kStep, 0}};
  const std::vector<Consumer> consumers = SubmitMany({10, 10});
  // After the encoder's Step and before the scheduler has seen its error: the members are neither
  // in the queue yet nor in a job any more when the executor reads of the cancellation.
  observer_.on_slice = [&] {
    scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "gone"));
  };
  Run();
  EXPECT_EQ(consumers[0]->reason(), ErrorReason::kCancelled);
  EXPECT_EQ(consumers[1]->reason(), ErrorReason::kCancelled);
  EXPECT_EQ(encoder_->step_calls(), 1);
}

TEST_F(SchedulerFaults, ALostDeviceEndsEverythingAndRefusesTheRest) {
  encoder_options_.faults = {{Kind::kDeviceLost, At::kStep, 2}};
  const Consumer running = Submit(300);
  const Consumer waiting = Submit(400);
  RunSlices(3);
  for (const Consumer& consumer : {running, waiting}) {
    EXPECT_EQ(consumer->reason(), ErrorReason::kDeviceLost);
    EXPECT_EQ(consumer->end->code(), absl::StatusCode::kUnavailable);
  }
  EXPECT_EQ(GetErrorDetails(Refused({1})).reason, ErrorReason::kDeviceLost);
  EXPECT_FALSE(scheduler().RunOnce());
}

// Says that a job is done though one of its sequences has had no result.
class ForgetfulEncoder final : public Encoder {
 public:
  const EncoderInfo& Info() const override { return info_; }
  absl::Status Health() const override { return absl::OkStatus(); }
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override {
    return {.seconds = 0.001, .peak_bytes = 1, .slices = 0};
  }
  absl::Status CheckRoute(int64_t tokens, Route route) const override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override {
    struct Job final : EncodeJob {
      explicit Job(RowSink* to) : sink(to) {}
      absl::StatusOr<State> Step() override {
        sink->Finish(0, {});
        return State::kDone;
      }
      void Drop(int sequence) override {}
      int64_t ResidentBytes() const override { return 0; }
      double Progress() const override { return 1; }
      RowSink* sink;
    };
    return std::make_unique<Job>(sink);
  }

 private:
  EncoderInfo info_;
};

TEST(SchedulerContract, ASequenceThatTheEncoderForgetsEndsAllTheSame) {
  const auto model = std::make_shared<ServedModel>(std::make_shared<ForgetfulEncoder>());
  FakeClock clock;
  SteppedScheduler scheduler({}, &clock, nullptr);
  std::vector<SequenceTask> tasks;
  std::vector<Consumer> consumers;
  for (int i = 0; i < 2; ++i) {
    consumers.push_back(std::make_shared<RecordingConsumer>());
    tasks.push_back({.model = model, .token_ids = {1}, .consumer = consumers.back()});
  }
  ASSERT_TRUE(scheduler.Submit(std::move(tasks), {.priority = Priority::kBatch}).ok());
  EXPECT_TRUE(scheduler.RunOnce());
  EXPECT_TRUE(consumers[0]->ok());
  EXPECT_EQ(consumers[1]->reason(), ErrorReason::kInternal);
  EXPECT_FALSE(scheduler.RunOnce());
}

}  // namespace
}  // namespace longwave
