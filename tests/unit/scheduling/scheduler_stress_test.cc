// The scheduler under many threads, made for ThreadSanitizer: submitters, cancellers, slow readers,
// failing jobs and a drain, all at once.

#include <atomic>
#include <deque>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "model/base/error.h"
#include "model/base/mutex.h"
#include "server/scheduling/scheduler.h"

namespace longwave {
namespace {

// What came of all sequences, and the statuses on their way to a thread that reads them.
class Results {
 public:
  // Of an accepted request; counted before Submit, since the end may come first.
  void Expect(int64_t sequences) { expected_ += sequences; }

  void End(absl::StatusOr<SequenceReport> result) {
    MutexLock lock(&mutex_);
    ended_.push_back(std::move(result));
    changed_.NotifyAll();
  }
  // Reads and destroys statuses until `stop`.
  void Read() {
    MutexLock lock(&mutex_);
    while (!stop_ || !ended_.empty()) {
      while (!stop_ && ended_.empty()) changed_.Wait(&mutex_);
      if (ended_.empty()) continue;
      absl::StatusOr<SequenceReport> result = std::move(ended_.front());
      ended_.pop_front();
      mutex_.Unlock();
      Judge(std::move(result));
      mutex_.Lock();
    }
  }
  void Stop() {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }

  int64_t expected() const { return expected_; }
  int64_t ended() const { return ok_ + failed_; }
  int64_t ok() const { return ok_; }
  int64_t failed() const { return failed_; }

 private:
  void Judge(absl::StatusOr<SequenceReport> result) {
    if (result.ok()) {
      ++ok_;
      return;
    }
    const absl::Status status = std::move(result).status();
    EXPECT_FALSE(status.message().empty());
    EXPECT_NE(GetErrorDetails(status).reason, ErrorReason::kQueueFull);
    ++failed_;
  }

  Mutex mutex_;
  CondVar changed_;
  std::deque<absl::StatusOr<SequenceReport>> ended_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<int64_t> expected_{0};
  std::atomic<int64_t> ok_{0};
  std::atomic<int64_t> failed_{0};
};

class SlowReader;

// With a reader, refuses every other block of rows until that says that there is room.
class StressConsumer final : public SequenceConsumer {
 public:
  StressConsumer(Results* results, SlowReader* reader) : results_(*results), reader_(reader) {}
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override;
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    EXPECT_FALSE(ended_.exchange(true)) << "two ends";
    results_.End(std::move(result));
  }
  void SetTicket(Scheduler::Ticket ticket) { ticket_ = ticket; }

 private:
  Results& results_;
  SlowReader* const reader_;  // null: takes everything
  std::atomic<Scheduler::Ticket> ticket_{0};
  std::atomic<bool> ended_{false};
  bool refused_ = false;
};

// A thread that makes room for whoever refused.
class SlowReader {
 public:
  explicit SlowReader(Scheduler* scheduler) : scheduler_(*scheduler) {}
  // `ticket` is 0 until Submit has returned, and outlives this.
  void Refused(const std::atomic<Scheduler::Ticket>* ticket) {
    MutexLock lock(&mutex_);
    refused_.push_back(ticket);
    changed_.NotifyAll();
  }
  void Run() {
    MutexLock lock(&mutex_);
    while (!stop_) {
      while (!stop_ && refused_.empty()) changed_.Wait(&mutex_);
      if (refused_.empty()) continue;
      const std::atomic<Scheduler::Ticket>& ticket = *refused_.front();
      refused_.pop_front();
      mutex_.Unlock();
      while (ticket == 0) std::this_thread::yield();
      scheduler_.OnSinkReady(ticket);
      mutex_.Lock();
    }
  }
  void Stop() {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }

 private:
  Scheduler& scheduler_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<const std::atomic<Scheduler::Ticket>*> refused_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

RowSink::Answer StressConsumer::OnRows(int64_t first_row, RowBlock rows) {
  refused_ = !refused_ && reader_ != nullptr;
  if (!refused_) return RowSink::Answer::kTaken;
  reader_->Refused(&ticket_);
  return RowSink::Answer::kRefused;
}

struct Load {
  int submitters = 3;
  int requests = 0;        // of each submitter
  int32_t poison_id = -1;  // every sequence holds it
  bool cancel = false;     // a third of the requests are cancelled at once
  bool stream = false;     // a quarter of them are streams with slow readers
  bool patient = false;    // submitters wait for room, so that hardly anything is refused
};

class SchedulerStress : public ::testing::Test {
 protected:
  static constexpr int64_t kRoom = 1000;

  void Start(FakeEncoderOptions encoder_options, SchedulerOptions options = {}) {
    encoder_ = std::make_shared<FakeEncoder>(std::move(encoder_options));
    model_ = std::make_shared<ServedModel>(encoder_);
    scheduler_ = *Scheduler::Create(options, &clock_, nullptr);
    reader_ = std::make_unique<SlowReader>(scheduler_.get());
    helpers_.emplace_back([this] { reader_->Run(); });
    helpers_.emplace_back([this] { results_.Read(); });
  }
  void Finish() {
    reader_->Stop();
    results_.Stop();
    for (std::thread& helper : helpers_) helper.join();
    EXPECT_EQ(results_.ended(), results_.expected());
    EXPECT_EQ(encoder_->live_jobs(), 0);
    const SchedulerView view = scheduler_->View();
    EXPECT_EQ(view.queued_sequences + view.running_sequences + view.queued_tokens, 0);
    EXPECT_EQ(view.queued_seconds + view.running_seconds, 0);
    EXPECT_EQ(view.resident_bytes + view.paused_jobs, 0);
  }

  void SubmitAll(const Load& load, uint32_t seed) {
    std::mt19937 random(seed);
    for (int i = 0; i < load.requests; ++i) SubmitOne(load, random);
  }

  void SubmitOne(const Load& load, std::mt19937& random) {
    const bool streamed = load.stream && random() % 4 == 0;
    std::vector<std::shared_ptr<StressConsumer>> consumers;
    std::vector<SequenceTask> tasks;
    for (uint32_t s = 0; s < (streamed ? 1 : 1 + random() % 3); ++s) {
      consumers.push_back(
          std::make_shared<StressConsumer>(&results_, streamed ? reader_.get() : nullptr));
      std::vector<int32_t> ids(1 + random() % 40, 1);
      if (load.poison_id >= 0) ids.back() = load.poison_id;
      tasks.push_back({.model = model_,
                       .token_ids = std::move(ids),
                       .output = {.pooling = streamed ? Pooling::kRows : Pooling::kMean},
                       .streamed = streamed,
                       .consumer = consumers.back()});
    }
    while (load.patient && scheduler_->View().queued_sequences > kRoom) std::this_thread::yield();
    const auto count = static_cast<int64_t>(tasks.size());
    results_.Expect(count);
    const Priority priority = random() % 3 == 0 ? Priority::kBatch : Priority::kInteractive;
    const auto ticket = scheduler_->Submit(std::move(tasks), {.priority = priority});
    if (!ticket.ok()) {
      results_.Expect(-count);
      return;
    }
    {
      MutexLock lock(&consumers_mutex_);
      for (const auto& consumer : consumers) {
        consumer->SetTicket(*ticket);
        if (streamed) streamed_.push_back(consumer);
      }
    }
    if (load.cancel && random() % 3 == 0) {
      scheduler_->Cancel(*ticket, MakeError(ErrorReason::kCancelled, "the client left"));
    }
  }

  void RunLoad(const Load& load) {
    std::vector<std::thread> submitters;
    for (int t = 0; t < load.submitters; ++t) {
      submitters.emplace_back([this, &load, t] { SubmitAll(load, 100 + t); });
    }
    for (std::thread& submitter : submitters) submitter.join();
  }

  SteadyClock clock_;
  Results results_;
  // The reader thread looks at tickets of consumers that may have ended.
  Mutex consumers_mutex_;
  std::vector<std::shared_ptr<StressConsumer>> streamed_ ABSL_GUARDED_BY(consumers_mutex_);
  std::shared_ptr<FakeEncoder> encoder_;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<SlowReader> reader_;
  std::vector<std::thread> helpers_;
};

TEST_F(SchedulerStress, MixedLoadEndsEverySequenceOnce) {
  Start({.tokens_per_slice = 16, .rows_per_offer = 4}, {.admission = {.max_queue_sequences = 200}});
  std::atomic<bool> done{false};
  std::thread watcher([&] {
    while (!done) {
      const SchedulerView view = scheduler_->View();
      EXPECT_LE(view.queued_sequences, 200);
      EXPECT_GE(view.queued_seconds, 0);
    }
  });
  RunLoad({.requests = 3000, .cancel = true, .stream = true});
  scheduler_->BeginDrain();
  EXPECT_TRUE(scheduler_->AwaitIdle(kNever));
  done = true;
  watcher.join();
  EXPECT_GT(results_.ok(), 0);
  EXPECT_GT(results_.failed(), 0);
  Finish();
}

TEST_F(SchedulerStress, ADrainThatRunsOutOfTimeMeetsSubmittersAndCancellers) {
  for (int round = 0; round < 20; ++round) {
    Results& results = results_;
    const int64_t before = results.expected();
    encoder_ = std::make_shared<FakeEncoder>(FakeEncoderOptions{.tokens_per_slice = 4});
    model_ = std::make_shared<ServedModel>(encoder_);
    scheduler_ = *Scheduler::Create({}, &clock_, nullptr);
    std::thread drain([&] {
      while (results.expected() < before + 50) std::this_thread::yield();
      scheduler_->BeginDrain();
      scheduler_->AwaitIdle(Instant::min());
    });
    RunLoad({.submitters = 2, .requests = 100, .cancel = true});
    drain.join();
    scheduler_ = nullptr;
  }
  std::thread reader([&] { results_.Read(); });
  results_.Stop();
  reader.join();
  EXPECT_EQ(results_.ended(), results_.expected());
}

// A hundred thousand failures, each a status that is made on the executor's thread and read and
// destroyed on another.
TEST_F(SchedulerStress, StatusesOfFailingSequencesCrossThreads) {
  Start({.poison_id = 7}, {.admission = {.max_queue_sequences = 65536}});
  RunLoad({.requests = 17'000, .poison_id = 7, .patient = true});
  EXPECT_TRUE(scheduler_->AwaitIdle(kNever));
  Finish();
  EXPECT_EQ(results_.ok(), 0);
  EXPECT_GT(results_.failed(), 50'000);
}

TEST_F(SchedulerStress, TheStatusOfAFailingJobReachesEachMember) {
  // An id outside the vocabulary fails Begin, and with it the whole batch.
  Start({}, {.admission = {.max_queue_sequences = 65536}});
  RunLoad({.requests = 17'000, .poison_id = 1'000'000, .patient = true});
  EXPECT_TRUE(scheduler_->AwaitIdle(kNever));
  Finish();
  EXPECT_EQ(results_.ok(), 0);
  EXPECT_GT(results_.failed(), 50'000);
}

}  // namespace
}  // namespace longwave
