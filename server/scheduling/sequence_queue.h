#ifndef LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_
#define LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "server/scheduling/sequence.h"

namespace longwave {

// The sequences that wait, in the order of their keys within each flow. Not thread-safe.
class SequenceQueue {
 public:
  using InOrder = std::map<OrderKey, std::unique_ptr<Sequence>>;
  // What waits of one flow.
  struct Line {
    InOrder in_order;
    std::map<OrderKey, Sequence*> long_in_order;    // those that ride alone
    std::set<std::pair<Instant, uint64_t>> by_due;  // DueTime, number
    int64_t tokens = 0;
    Nanoseconds predicted{0};

    // Of what is not after this tag. Takes time for each sequence between it and the nearer end of
    // the line: little where requests are alike, since the new ones are last.
    Nanoseconds PredictedUpTo(double finish) const;
  };

  // Rarely enough that memory is seldom kept free for one.
  static constexpr int kMostPasses = 9;

  void Push(std::unique_ptr<Sequence> sequence);
  // Null if it does not wait here.
  std::unique_ptr<Sequence> Take(uint64_t number);
  Sequences TakeTicket(Scheduler::Ticket ticket);
  // A long sequence was started where others had `long_bytes` of room: counts against the first
  // long one of each flow that needs more.
  void CountPass(int64_t long_bytes);
  // Those whose deadline is not after `now`.
  Sequences TakeExpired(Instant now);
  Sequences TakeAll();
  // Those that wait for this model.
  Sequences TakeModel(const ServedModel& model);
  // Shared: the last sequence of a version that is served no more may leave at any time.
  std::set<std::shared_ptr<ServedModel>> Models() const;

  const std::map<Flow, Line>& lines() const { return lines_; }
  // Null if nothing of the flow waits.
  const Line* Find(const Flow& flow) const;
  // Of those that ride alone the one that arrived first; null if there is none.
  const Sequence* OldestLong() const;
  // Of those that have been passed kMostPasses times the one that arrived first; null if there is
  // none. So it starts even where others always hold some of the memory that it needs.
  const Sequence* Impatient() const;
  const Sequence* Find(uint64_t number) const;
  // kNever if none has one.
  Instant NextDeadline() const;

  int64_t sequences() const { return static_cast<int64_t>(by_number_.size()); }
  int64_t tokens() const { return tokens_; }
  Nanoseconds predicted() const { return predicted_; }

 private:
  std::map<Flow, Line> lines_;  // none empty
  std::map<uint64_t, Sequence*> by_number_;
  std::set<uint64_t> long_;  // numbers of those that ride alone
  std::map<std::pair<Instant, uint64_t>, Sequence*> by_deadline_;
  std::map<std::shared_ptr<ServedModel>, int64_t> by_model_;  // sequences
  int64_t tokens_ = 0;
  Nanoseconds predicted_{0};
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_
