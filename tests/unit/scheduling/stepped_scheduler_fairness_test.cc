#include <string>

#include "tests/unit/scheduling/scheduler_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

using SchedulerFairness = SchedulerTest;

TEST_F(SchedulerFairness, AShortSequenceStartsWithinOneSliceOfALongOne) {
  Submit(100'000);
  RunSlices(5);
  const Consumer late = Submit(10);
  const Instant submitted = clock_.Now();
  RunSlices(1);
  EXPECT_TRUE(late->ok());
  EXPECT_NEAR(ToSeconds(late->times.last_row - submitted), 0.01, 1e-9);
}

TEST_F(SchedulerFairness, ALongOneGoesOnAtLeastOncePerNineSlicesOfOthers) {
  for (const Priority priority : {Priority::kBatch, Priority::kInteractive}) {
    const Consumer paused = Submit(10'000, priority, kNever, {}, /*streamed=*/true);
    RunSlices(1);
    const size_t slices = paused->progress.size();
    for (int slice = 0; slice < 100; ++slice) {
      Submit(10);  // there is always something short and interactive
      RunSlices(1);
    }
    EXPECT_EQ(paused->progress.size() - slices, 10);
    Run();
  }
}

TEST_F(SchedulerFairness, InteractiveWorkComesFirstAndBatchWorkKeepsATenth) {
  options_.max_batch_sequences = 1;
  std::vector<Consumer> interactive;
  std::vector<Consumer> batch;
  for (int i = 0; i < 200; ++i) {
    interactive.push_back(Submit(10));
    batch.push_back(Submit(10, Priority::kBatch));
  }
  RunSlices(100);
  const auto done = [](const std::vector<Consumer>& consumers) {
    return std::count_if(consumers.begin(), consumers.end(), [](const auto& c) { return c->ok(); });
  };
  EXPECT_NEAR(done(interactive), 90, 2);
  EXPECT_NEAR(done(batch), 10, 2);
}

TEST_F(SchedulerFairness, EqualRequestsAreServedInTheOrderOfArrival) {
  options_.max_batch_sequences = 1;
  std::vector<Consumer> consumers;
  std::vector<int> order;
  for (int i = 0; i < 20; ++i) {
    consumers.push_back(Submit(25));
    consumers.back()->on_end = [&order, i] { order.push_back(i); };
  }
  Run();
  std::vector<int> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(order, sorted);
}

TEST_F(SchedulerFairness, AmongEqualsTheEarlierDeadlineGoesFirst) {
  options_.max_batch_sequences = 1;
  const Consumer relaxed = Submit(20, Priority::kInteractive, In(20));
  const Consumer urgent = Submit(20, Priority::kInteractive, In(10));
  Run();
  EXPECT_LT(urgent->times.last_row, relaxed->times.last_row);
}

TEST_F(SchedulerFairness, ARequestOfManySequencesIsOneRequest) {
  options_.max_batch_sequences = 1;
  const std::vector<Consumer> many = SubmitMany(std::vector<int64_t>(30, 10));
  RunSlices(3);
  const Consumer one = Submit(10);
  RunSlices(1);
  EXPECT_TRUE(one->ok()) << "it need not wait for the other request's thirty";
  Run();
  EXPECT_TRUE(many.back()->ok());
}

// Two batches that take turns both end late: with every deadline as near as the queue is long, that
// lost a quarter of what was let in.
TEST_F(SchedulerFairness, ABatchOfShortSequencesIsNotBegunBeforeTheFirstHasEnded) {
  options_.max_batch_seconds = 0.4;
  const std::vector<Consumer> first = SubmitMany(std::vector<int64_t>(20, 20));
  RunSlices(1);
  const std::vector<Consumer> second = SubmitMany(std::vector<int64_t>(20, 20));
  while (!first.back()->end.has_value()) RunSlices(1);
  EXPECT_EQ(second.front()->times.popped, Instant{});
  EXPECT_EQ(observer_.batches.size(), 1u);
}

TEST_F(SchedulerFairness, WhoLeavesGivesItsShareBack) {
  const Consumer first = Submit(2000);
  for (int i = 0; i < 20; ++i) {
    Submit(10'000);
    scheduler().Cancel(ticket_, MakeError(ErrorReason::kCancelled, "gone"));
  }
  RunSlices(100);
  // The first has had one second and needs one more; a new one that needs more comes after it.
  // Were the twenty still counted, hardly any virtual time would have passed.
  const Consumer second = Submit(1500);
  Run();
  EXPECT_LT(first->times.last_row, second->times.last_row);
}

TEST_F(SchedulerFairness, ManyLongRequestsAreNotAllStartedAtOnce) {
  std::vector<Consumer> consumers;
  for (int i = 0; i < 5; ++i) consumers.push_back(Submit(300));
  int64_t most_paused = 0;
  while (scheduler().RunOnce()) {
    most_paused = std::max(most_paused, scheduler().View().paused_jobs);
  }
  // One is begun out of turn, since it has waited; the others when their turn comes.
  EXPECT_LE(most_paused, 2);
  for (const Consumer& consumer : consumers) EXPECT_TRUE(consumer->ok());
}

TEST_F(SchedulerFairness, PausedJobsStayWithinTheMemory) {
  options_.max_resident_bytes = 1000;  // 125 of them for a batch
  const Consumer first = Submit(500);
  RunSlices(1);
  const Consumer second = Submit(400);
  RunSlices(60);
  EXPECT_EQ(encoder_->live_jobs(), 1) << "875 are not enough for both";
  Run();
  EXPECT_TRUE(first->ok());
  EXPECT_TRUE(second->ok());
}

TEST_F(SchedulerFairness, AShortSequenceRunsBesideALongOneThatFillsTheMemory) {
  options_.max_resident_bytes = 1000;
  const Consumer long_one = Submit(1000);
  RunSlices(1);
  const Consumer short_one = Submit(100);
  RunSlices(11);  // one of them for the long one, which has waited for nine
  EXPECT_TRUE(short_one->ok());
  EXPECT_FALSE(long_one->end.has_value());
}

TEST_F(SchedulerFairness, SlowReadersLeaveOnePlaceForShortSequences) {
  options_.max_paused_jobs = 3;
  std::vector<Consumer> readers;
  for (int i = 0; i < 5; ++i) readers.push_back(SubmitStream(30, 0));
  Run();
  EXPECT_EQ(encoder_->live_jobs(), 3);
  const Consumer other = Submit(10);
  Run();
  EXPECT_TRUE(other->ok());
  EXPECT_EQ(scheduler().View().queued_sequences, 2);
}

// One that needs much memory among others that always hold some.
class SchedulerStarvation : public SchedulerTest {
 protected:
  SchedulerStarvation() { options_.max_resident_bytes = 1000; }

  static RequestTerms Of(const std::string& tenant, Priority priority = Priority::kInteractive) {
    return {.priority = priority, .tenant = std::make_shared<Tenant>(Tenant{.name = tenant})};
  }
  Consumer Send(int64_t tokens, const RequestTerms& terms) {
    scheduler();
    auto consumer = std::make_shared<RecordingConsumer>();
    std::vector<SequenceTask> tasks;
    tasks.push_back(
        {.model = model_, .token_ids = Ids(tokens, next_id_ += 7), .consumer = consumer});
    EXPECT_TRUE(scheduler().Submit(std::move(tasks), terms).ok());
    return consumer;
  }
  // How many requests of 280 tokens, of which there are always two, end before a larger one does;
  // 200 if it does not.
  int64_t EndedBefore(int64_t tokens, const RequestTerms& terms, const RequestTerms& others) {
    std::vector<Consumer> smaller = {Send(280, others), Send(280, others)};
    RunSlices(1);
    const Consumer large = Send(tokens, terms);
    int64_t ended = 0;
    while (!large->end.has_value() && ended < 200 && scheduler().RunOnce()) {
      for (Consumer& consumer : smaller) {
        if (!consumer->end.has_value()) continue;
        consumer = Send(280, others);
        ++ended;
      }
    }
    Run();
    EXPECT_TRUE(large->ok());
    return ended;
  }
};

// The smaller ones alone are a full load; the large one gets its share of it all the same.
TEST_F(SchedulerStarvation, ALargeSequenceIsNotStarvedBySmallerLongOnes) {
  EXPECT_LE(EndedBefore(870, {}, {}), 20);
}

TEST_F(SchedulerStarvation, NorByThoseOfAnotherTenant) {
  EXPECT_LE(EndedBefore(870, Of("a"), Of("b")), 20);
  EXPECT_LE(EndedBefore(1000, Of("a"), Of("b")), 20) << "all of the memory";
}

TEST_F(SchedulerStarvation, NorByThoseOfTheOtherClass) {
  EXPECT_LE(EndedBefore(870, Of("a", Priority::kBatch), Of("a")), 60) << "it has a tenth";
}

}  // namespace
}  // namespace longwave
