#include "server/scheduling/sequence_queue.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Instant At(int64_t nanoseconds) { return Instant(Nanoseconds(nanoseconds)); }

std::unique_ptr<Sequence> Make(uint64_t number, uint64_t ticket, double finish,
                               Instant deadline = kNever,
                               Priority priority = Priority::kInteractive) {
  auto sequence = std::make_unique<Sequence>();
  sequence->ticket = ticket;
  sequence->flow.priority = priority;
  sequence->key = {.finish = finish, .deadline = deadline, .number = number};
  sequence->tokens = static_cast<int64_t>(10 * number);
  sequence->predicted = Nanoseconds(number);
  return sequence;
}

std::vector<uint64_t> Numbers(const Sequences& sequences) {
  std::vector<uint64_t> numbers;
  for (const auto& sequence : sequences) numbers.push_back(sequence->key.number);
  return numbers;
}

std::vector<uint64_t> Order(const SequenceQueue& queue, Priority priority) {
  std::vector<uint64_t> numbers;
  const SequenceQueue::Line* const line = queue.Find({.priority = priority});
  if (line == nullptr) return {};
  for (const auto& [key, sequence] : line->in_order) numbers.push_back(key.number);
  return numbers;
}

TEST(SequenceQueueTest, EachClassIsInTheOrderOfItsKeys) {
  SequenceQueue queue;
  queue.Push(Make(1, 1, 3.0));
  queue.Push(Make(2, 2, 1.0, At(9)));
  queue.Push(Make(3, 3, 1.0, At(5)));
  queue.Push(Make(4, 4, 1.0, At(5)));
  queue.Push(Make(5, 5, 0.5, kNever, Priority::kBatch));
  EXPECT_THAT(Order(queue, Priority::kInteractive), ElementsAre(3, 4, 2, 1));
  EXPECT_THAT(Order(queue, Priority::kBatch), ElementsAre(5));
  EXPECT_EQ(queue.OldestLong(), nullptr) << "none of them is long";
  EXPECT_EQ(queue.NextDeadline(), At(5));
}

TEST(SequenceQueueTest, ATicketsSequencesLeaveTogether) {
  SequenceQueue queue;
  for (uint64_t number = 1; number <= 6; ++number) {
    queue.Push(Make(number, number < 3 ? 1 : number < 6 ? 3 : 6, 1.0));
  }
  queue.Take(4);
  EXPECT_THAT(Numbers(queue.TakeTicket(3)), ElementsAre(3, 5));
  EXPECT_THAT(Numbers(queue.TakeTicket(3)), IsEmpty());
  EXPECT_THAT(Order(queue, Priority::kInteractive), ElementsAre(1, 2, 6));
}

TEST(SequenceQueueTest, ExpiredIsWhatHasItsDeadlineNowOrBefore) {
  SequenceQueue queue;
  queue.Push(Make(1, 1, 1.0, At(30)));
  queue.Push(Make(2, 2, 1.0, At(10)));
  queue.Push(Make(3, 3, 1.0));
  EXPECT_THAT(Numbers(queue.TakeExpired(At(9))), IsEmpty());
  EXPECT_THAT(Numbers(queue.TakeExpired(At(10))), ElementsAre(2));
  EXPECT_THAT(Numbers(queue.TakeExpired(At(1000))), ElementsAre(1));
  EXPECT_EQ(queue.NextDeadline(), kNever);
  EXPECT_EQ(queue.sequences(), 1);
}

TEST(SequenceQueueTest, WhatIsNotThereIsNotTaken) {
  SequenceQueue queue;
  EXPECT_EQ(queue.Take(1), nullptr);
  EXPECT_EQ(queue.Find(1), nullptr);
  EXPECT_EQ(queue.OldestLong(), nullptr);
  queue.Push(Make(1, 1, 1.0));
  EXPECT_NE(queue.Take(1), nullptr);
  EXPECT_EQ(queue.Take(1), nullptr);
}

TEST(SequenceQueueTest, WhatIsPredictedUpToATagIsTheSumOfIt) {
  std::mt19937 random(11);
  for (int round = 0; round < 200; ++round) {
    SequenceQueue queue;
    std::vector<double> tags;
    for (uint64_t number = 1; number <= 1 + random() % 8; ++number) {
      tags.push_back(random() % 6);
      queue.Push(Make(number, number, tags.back()));
    }
    for (const double tag : {-1.0, 0.0, 1.0, 2.5, 4.0, 9.0}) {
      Nanoseconds sum{0};
      for (size_t i = 0; i < tags.size(); ++i) {
        if (tags[i] <= tag) sum += Nanoseconds(i + 1);
      }
      EXPECT_EQ(queue.Find(Flow{})->PredictedUpTo(tag), sum);
    }
  }
}

TEST(SequenceQueueTest, ALongOneThatIsPassedTooOftenGetsImpatient) {
  SequenceQueue queue;
  const auto push = [&](uint64_t number, double finish, Priority priority, int64_t peak) {
    auto sequence = Make(number, number, finish, kNever, priority);
    sequence->alone = peak > 0;
    sequence->peak_bytes = peak;
    queue.Push(std::move(sequence));
  };
  push(1, 0, Priority::kInteractive, 0);  // no long one
  push(2, 9, Priority::kInteractive, 100);
  push(3, 8, Priority::kInteractive, 100);  // before it in its flow
  push(4, 7, Priority::kBatch, 50);
  for (int i = 0; i < 100; ++i) queue.CountPass(100);  // there was room
  for (int i = 0; i < SequenceQueue::kMostPasses; ++i) {
    EXPECT_EQ(queue.Impatient(), nullptr);
    queue.CountPass(99);
  }
  EXPECT_EQ(queue.Impatient(), queue.Find(3));
  for (int i = 0; i < SequenceQueue::kMostPasses; ++i) queue.CountPass(49);
  EXPECT_EQ(queue.Impatient(), queue.Find(3)) << "it came first";
  queue.Take(3);
  EXPECT_EQ(queue.Impatient(), queue.Find(4)) << "the next of the flow has not been passed";
}

TEST(SequenceQueueTest, CountsReturnToZeroByWhateverWayItEmpties) {
  std::mt19937 random(7);
  SequenceQueue queue;
  uint64_t next = 1;
  for (int round = 0; round < 2000; ++round) {
    int64_t tokens = 0;
    for (uint64_t number = 1; number < next; ++number) {
      if (queue.Find(number) != nullptr) tokens += static_cast<int64_t>(10 * number);
    }
    ASSERT_EQ(queue.tokens(), tokens);
    switch (random() % 6) {
      case 0:
      case 1:
      case 2:
        queue.Push(Make(next, next, random() % 5, random() % 2 == 0 ? kNever : At(random() % 100),
                        random() % 2 == 0 ? Priority::kBatch : Priority::kInteractive));
        ++next;
        break;
      case 3:
        queue.Take(1 + random() % next);
        break;
      case 4:
        queue.TakeTicket(1 + random() % next);
        break;
      case 5:
        queue.TakeExpired(At(random() % 20));
        break;
    }
    if (next > 60) {
      queue.TakeAll();
      ASSERT_EQ(queue.sequences(), 0);
      ASSERT_EQ(queue.tokens(), 0);
      ASSERT_EQ(queue.predicted(), Nanoseconds(0));
      ASSERT_EQ(queue.NextDeadline(), kNever);
      ASSERT_TRUE((queue.Find({.priority = Priority::kBatch}) == nullptr));
      next = 1;
    }
  }
}

}  // namespace
}  // namespace longwave
