#include "server/scheduling/consumer_gate.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "model/base/error.h"

namespace longwave {
namespace {

class CountingConsumer final : public SequenceConsumer {
 public:
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    EXPECT_EQ(ends, 0);
    EXPECT_FALSE(inside.exchange(true));
    ++row_calls;
    inside = false;
    return RowSink::Answer::kRefused;
  }
  void OnProgress(double fraction) override { progress = fraction; }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    EXPECT_FALSE(inside);
    ++ends;
  }

  std::atomic<int> row_calls{0};
  std::atomic<int> ends{0};
  std::atomic<bool> inside{false};
  double progress = 0;
};

TEST(ConsumerGateTest, PassesCallsOnUntilTheEnd) {
  auto consumer = std::make_shared<CountingConsumer>();
  ConsumerGate gate(consumer);
  EXPECT_EQ(gate.OnRows(0, {}), RowSink::Answer::kRefused);
  gate.OnProgress(0.5);
  EXPECT_EQ(consumer->progress, 0.5);
  EXPECT_TRUE(gate.End(SequenceReport{}, {}));
  EXPECT_FALSE(gate.End(MakeError(ErrorReason::kDraining, "late"), {}));
  EXPECT_EQ(gate.OnRows(0, {}), RowSink::Answer::kTaken);
  gate.OnProgress(0.9);
  EXPECT_EQ(consumer->row_calls, 1);
  EXPECT_EQ(consumer->progress, 0.5);
  EXPECT_EQ(consumer->ends, 1);
}

TEST(ConsumerGateTest, LetsGoOfTheConsumerAtTheEnd) {
  auto consumer = std::make_shared<CountingConsumer>();
  const std::weak_ptr<CountingConsumer> weak = consumer;
  ConsumerGate gate(std::move(consumer));
  gate.End(SequenceReport{}, {});
  EXPECT_TRUE(weak.expired());
}

// Does not leave OnRows before another thread has had every chance to end the sequence.
class LingeringConsumer final : public SequenceConsumer {
 public:
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    inside = true;
    while (!ending) std::this_thread::yield();
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    inside = false;
    return RowSink::Answer::kTaken;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    EXPECT_FALSE(inside) << "the end came in the middle of another call";
  }

  std::atomic<bool> inside{false};
  std::atomic<bool> ending{false};
};

TEST(ConsumerGateTest, TheEndWaitsForACallThatIsUnderWay) {
  auto consumer = std::make_shared<LingeringConsumer>();
  ConsumerGate gate(consumer);
  std::thread rows([&] { gate.OnRows(0, {}); });
  while (!consumer->inside) std::this_thread::yield();
  consumer->ending = true;
  EXPECT_TRUE(gate.End(SequenceReport{}, {}));
  rows.join();
}

TEST(ConsumerGateTest, OneOfManyEndsAndNothingFollows) {
  for (int round = 0; round < 200; ++round) {
    auto consumer = std::make_shared<CountingConsumer>();
    ConsumerGate gate(consumer);
    std::thread rows([&] {
      for (int i = 0; i < 50; ++i) gate.OnRows(i, {});
    });
    std::atomic<int> ended{0};
    std::vector<std::thread> enders;
    for (int i = 0; i < 3; ++i) {
      enders.emplace_back([&] { ended += gate.End(SequenceReport{}, {}) ? 1 : 0; });
    }
    for (std::thread& ender : enders) ender.join();
    rows.join();
    EXPECT_EQ(ended, 1);
    EXPECT_EQ(consumer->ends, 1);
  }
}

}  // namespace
}  // namespace longwave
