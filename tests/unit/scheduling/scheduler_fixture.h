#ifndef LONGWAVE_TESTS_UNIT_SCHEDULING_SCHEDULER_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_SCHEDULING_SCHEDULER_FIXTURE_H_

#include <algorithm>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "model/base/error.h"
#include "server/scheduling/stepped_scheduler.h"

namespace longwave {

inline ::testing::Matcher<const std::vector<double>&> AllNear(std::vector<double> expected) {
  return ::testing::Pointwise(::testing::DoubleNear(1e-9), std::move(expected));
}

// `count` ids that no call with another `first` gives.
inline std::vector<int32_t> Ids(int64_t count, int32_t first) {
  std::vector<int32_t> ids(count);
  for (int64_t i = 0; i < count; ++i) ids[i] = static_cast<int32_t>((first + i) % 1000);
  return ids;
}

// Keeps what a sequence's consumer is told.
class RecordingConsumer final : public SequenceConsumer {
 public:
  RowSink::Answer OnRows(int64_t first_row, RowBlock block) override {
    EXPECT_FALSE(end.has_value()) << "rows after the end";
    EXPECT_EQ(first_row, rows);
    if (room < block.rows) return RowSink::Answer::kRefused;
    room -= block.rows;
    rows += block.rows;
    values.insert(values.end(), block.values.begin(), block.values.end());
    return RowSink::Answer::kTaken;
  }
  void OnProgress(double fraction) override { progress.push_back(fraction); }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& sequence_times) override {
    EXPECT_FALSE(end.has_value()) << "two ends";
    end = result.ok() ? absl::OkStatus() : std::move(result).status();
    times = sequence_times;
    if (on_end) on_end();
  }

  bool ok() const { return end.has_value() && end->ok(); }
  ErrorReason reason() const {
    EXPECT_TRUE(end.has_value());
    return end.has_value() ? GetErrorDetails(*end).reason : ErrorReason::kInternal;
  }

  int64_t room = int64_t{1} << 40;  // rows that are still taken
  std::function<void()> on_end;
  int64_t rows = 0;
  std::vector<float> values;
  std::vector<double> progress;
  std::optional<absl::Status> end;
  SequenceTimes times;
};

using Consumer = std::shared_ptr<RecordingConsumer>;

class RecordingObserver final : public SchedulerObserver {
 public:
  void OnBatch(int sequences, int64_t tokens) override { batches.emplace_back(sequences, tokens); }
  void OnSlice(double seconds) override {
    slices.push_back(seconds);
    if (on_slice) on_slice();
  }
  void OnJobEnd(int64_t tokens, double predicted, double actual) override {
    jobs.push_back({static_cast<double>(tokens), predicted, actual});
  }

  std::function<void()> on_slice;
  std::vector<std::pair<int, int64_t>> batches;
  std::vector<double> slices;
  std::vector<std::vector<double>> jobs;
};

// A scheduler in virtual time: one token takes a millisecond, a slice has ten tokens, a job needs a
// byte for each token.
class SchedulerTest : public ::testing::Test {
 protected:
  SchedulerTest() {
    encoder_options_.pace = FakePace::kFakeClock;
    encoder_options_.clock = &clock_;
    encoder_options_.base_seconds = 0;
    encoder_options_.seconds_per_token = 0.001;
    encoder_options_.tokens_per_slice = 10;
    encoder_options_.bytes_per_token = 1;
    encoder_options_.rows_per_offer = 5;
    options_.max_resident_bytes = 1 << 20;
    // Tests that are not about it may queue for hours.
    options_.admission.max_wait_seconds = 1e4;
    options_.admission.max_batch_class_wait_seconds = 1e4;
  }
  ~SchedulerTest() override {
    // Whatever a test did, nothing is left behind.
    if (scheduler_ == nullptr) return;
    if (!scheduler_->AwaitIdle(Instant::min())) Run();
    ExpectZero();
  }

  // A token takes a millisecond as ever, but the encoder predicts a thousandth of it: requests are
  // let in that will be late.
  void PredictTooLittle() {
    encoder_options_.time_factor = 1000;
    encoder_options_.seconds_per_token /= 1000;
  }

  SteppedScheduler& scheduler() {
    if (scheduler_ == nullptr) {
      encoder_ = std::make_shared<FakeEncoder>(encoder_options_);
      model_ = std::make_shared<ServedModel>(encoder_);
      scheduler_ = std::make_unique<SteppedScheduler>(options_, &clock_, &observer_);
    }
    return *scheduler_;
  }

  // The consumer and, in ticket_, the ticket of a request of one sequence.
  Consumer Submit(int64_t tokens, Priority priority = Priority::kInteractive,
                  Instant deadline = kNever, OutputSpec output = {}, bool streamed = false) {
    scheduler();
    auto consumer = std::make_shared<RecordingConsumer>();
    std::vector<SequenceTask> tasks;
    tasks.push_back({.model = model_,
                     .token_ids = Ids(tokens, next_id_ += 7),
                     .output = std::move(output),
                     .streamed = streamed,
                     .consumer = consumer});
    auto ticket =
        scheduler().Submit(std::move(tasks), {.priority = priority, .deadline = deadline});
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    ticket_ = ticket.value_or(0);
    return consumer;
  }
  Consumer SubmitStream(int64_t tokens, int64_t room) {
    Consumer consumer = Submit(tokens, Priority::kInteractive, kNever, {.pooling = Pooling::kRows},
                               /*streamed=*/true);
    consumer->room = room;
    return consumer;
  }
  // One request of several sequences.
  std::vector<Consumer> SubmitMany(const std::vector<int64_t>& lengths, Instant deadline = kNever) {
    scheduler();
    std::vector<Consumer> consumers;
    std::vector<SequenceTask> tasks;
    for (const int64_t tokens : lengths) {
      consumers.push_back(std::make_shared<RecordingConsumer>());
      tasks.push_back(
          {.model = model_, .token_ids = Ids(tokens, next_id_ += 7), .consumer = consumers.back()});
    }
    auto ticket = scheduler().Submit(std::move(tasks), {.deadline = deadline});
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    ticket_ = ticket.value_or(0);
    return consumers;
  }
  absl::Status Refused(const std::vector<int64_t>& lengths, Instant deadline = kNever) {
    scheduler();
    std::vector<SequenceTask> tasks;
    auto consumer = std::make_shared<RecordingConsumer>();
    for (const int64_t tokens : lengths) {
      tasks.push_back({.model = model_, .token_ids = Ids(tokens, 0), .consumer = consumer});
    }
    absl::Status status = scheduler().Submit(std::move(tasks), {.deadline = deadline}).status();
    EXPECT_FALSE(status.ok());
    EXPECT_FALSE(consumer->end.has_value()) << "a refused task gets no call";
    return status;
  }

  void Run(int limit = 100'000) {
    for (int i = 0; i < limit; ++i) {
      if (!scheduler().RunOnce()) return;
    }
    FAIL() << "still running after " << limit << " slices";
  }
  void RunSlices(int slices) {
    for (int i = 0; i < slices; ++i) EXPECT_TRUE(scheduler().RunOnce());
  }
  Instant In(double seconds) const { return clock_.Now() + FromSeconds(seconds); }
  double Seconds(Instant instant) const { return ToSeconds(instant - start_); }

  void ExpectZero() {
    const SchedulerView view = scheduler().View();
    EXPECT_EQ(view.queued_sequences, 0);
    EXPECT_EQ(view.queued_tokens, 0);
    EXPECT_EQ(view.running_sequences, 0);
    EXPECT_EQ(view.paused_jobs, 0);
    EXPECT_EQ(view.resident_bytes, 0);
    EXPECT_EQ(view.queued_seconds, 0);
    EXPECT_EQ(view.running_seconds, 0);
    EXPECT_EQ(encoder_->live_jobs(), 0);
  }

  FakeClock clock_;
  const Instant start_ = clock_.Now();
  FakeEncoderOptions encoder_options_;
  SchedulerOptions options_;
  RecordingObserver observer_;
  std::shared_ptr<FakeEncoder> encoder_;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<SteppedScheduler> scheduler_;
  Scheduler::Ticket ticket_ = 0;
  int32_t next_id_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_SCHEDULING_SCHEDULER_FIXTURE_H_
