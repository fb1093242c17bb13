#include <atomic>
#include <thread>

#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "model/base/error.h"
#include "model/base/mutex.h"
#include "server/scheduling/scheduler.h"

namespace longwave {
namespace {

// Lets a test wait for a sequence's end.
class WaitingConsumer final : public SequenceConsumer {
 public:
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    return RowSink::Answer::kTaken;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    MutexLock lock(&mutex_);
    code_ = result.status().code();
    reason_ = result.ok() ? ErrorReason::kInternal : GetErrorDetails(result.status()).reason;
    ended_ = true;
    changed_.NotifyAll();
  }
  absl::StatusCode Await() {
    MutexLock lock(&mutex_);
    while (!ended_) changed_.Wait(&mutex_);
    return code_;
  }
  ErrorReason reason() {
    Await();
    MutexLock lock(&mutex_);
    return reason_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::StatusCode code_ ABSL_GUARDED_BY(mutex_) = absl::StatusCode::kUnknown;
  ErrorReason reason_ ABSL_GUARDED_BY(mutex_) = ErrorReason::kInternal;
};

class SchedulerThread : public ::testing::Test {
 protected:
  void Start(FakeEncoderOptions encoder_options, SchedulerOptions options = {}) {
    encoder_ = std::make_shared<FakeEncoder>(std::move(encoder_options));
    model_ = std::make_shared<ServedModel>(encoder_);
    scheduler_ = *Scheduler::Create(options, &clock_, nullptr);
  }
  std::shared_ptr<WaitingConsumer> Submit(int64_t tokens, Instant deadline = kNever) {
    auto consumer = std::make_shared<WaitingConsumer>();
    std::vector<SequenceTask> tasks;
    tasks.push_back(
        {.model = model_, .token_ids = std::vector<int32_t>(tokens, 1), .consumer = consumer});
    auto ticket = scheduler_->Submit(std::move(tasks), {.deadline = deadline});
    EXPECT_TRUE(ticket.ok()) << ticket.status();
    ticket_ = *ticket;
    return consumer;
  }

  SteadyClock clock_;
  std::shared_ptr<FakeEncoder> encoder_;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<Scheduler> scheduler_;
  Scheduler::Ticket ticket_ = 0;
};

constexpr FakeFault kHangAtOnce = {FakeFault::Kind::kHang, FakeFault::At::kStep, 0};

TEST_F(SchedulerThread, ComputesWhatIsSubmitted) {
  Start({});
  EXPECT_EQ(Submit(10)->Await(), absl::StatusCode::kOk);
  EXPECT_EQ(Submit(100'000)->Await(), absl::StatusCode::kOk);
  EXPECT_TRUE(scheduler_->AwaitIdle(kNever));
}

TEST_F(SchedulerThread, WakesForADeadlineOfABlockedStream) {
  Start({});
  class Refusing final : public SequenceConsumer {
   public:
    explicit Refusing(std::shared_ptr<WaitingConsumer> inner) : inner_(std::move(inner)) {}
    RowSink::Answer OnRows(int64_t, RowBlock) override { return RowSink::Answer::kRefused; }
    void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
      inner_->OnEnd(std::move(result), times);
    }

   private:
    std::shared_ptr<WaitingConsumer> inner_;
  };
  auto consumer = std::make_shared<WaitingConsumer>();
  std::vector<SequenceTask> tasks;
  tasks.push_back({.model = model_,
                   .token_ids = {1, 2},
                   .output = {.pooling = Pooling::kRows},
                   .streamed = true,
                   .consumer = std::make_shared<Refusing>(consumer)});
  ASSERT_TRUE(
      scheduler_
          ->Submit(std::move(tasks), {.deadline = clock_.Now() + std::chrono::milliseconds(20)})
          .ok());
  EXPECT_EQ(consumer->reason(), ErrorReason::kDeadlineExpired);
}

TEST_F(SchedulerThread, ADrainThatADeviceHangsUpStillTellsEveryone) {
  Start({.faults = {kHangAtOnce}});
  auto running = Submit(10);
  encoder_->AwaitHang();
  auto waiting = Submit(10);
  scheduler_->BeginDrain();
  EXPECT_FALSE(scheduler_->AwaitIdle(clock_.Now() + std::chrono::milliseconds(5)));
  EXPECT_EQ(running->reason(), ErrorReason::kDraining);
  EXPECT_EQ(waiting->reason(), ErrorReason::kDraining);
  encoder_->Release();
  EXPECT_TRUE(scheduler_->AwaitIdle(kNever));
  EXPECT_EQ(scheduler_->View().running_sequences, 0);
}

TEST_F(SchedulerThread, TheDestructorEndsWhatIsLeft) {
  Start({.faults = {kHangAtOnce}});
  auto running = Submit(100'000);
  encoder_->AwaitHang();
  auto waiting = Submit(10);
  std::thread destroyer([&] { scheduler_ = nullptr; });
  EXPECT_EQ(running->reason(), ErrorReason::kDraining);
  EXPECT_EQ(waiting->reason(), ErrorReason::kDraining);
  encoder_->Release();
  destroyer.join();
  EXPECT_EQ(encoder_->live_jobs(), 0);
}

TEST_F(SchedulerThread, CancelReachesAHangingJobAfterItsSlice) {
  Start({.tokens_per_slice = 1, .faults = {kHangAtOnce}});
  auto consumer = Submit(1000);
  encoder_->AwaitHang();
  scheduler_->Cancel(ticket_, MakeError(ErrorReason::kCancelled, "gone"));
  encoder_->Release();
  EXPECT_EQ(consumer->reason(), ErrorReason::kCancelled);
}

}  // namespace
}  // namespace longwave
