#ifndef LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_
#define LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "server/scheduling/sequence.h"

namespace longwave {

// The sequences that wait, in the order of their keys within each class. Not thread-safe.
class SequenceQueue {
 public:
  using InOrder = std::map<OrderKey, std::unique_ptr<Sequence>>;

  void Push(std::unique_ptr<Sequence> sequence);
  // Null if it does not wait here.
  std::unique_ptr<Sequence> Take(uint64_t number);
  Sequences TakeTicket(Scheduler::Ticket ticket);
  // Those whose deadline is not after `now`.
  Sequences TakeExpired(Instant now);
  Sequences TakeAll();
  // Those that wait for this model.
  Sequences TakeModel(const ServedModel& model);
  std::set<const ServedModel*> Models() const;

  const InOrder& in_order(Priority priority) const { return order_[Index(priority)]; }
  // The one that arrived first; null if there is none.
  const Sequence* Oldest() const;
  const Sequence* Find(uint64_t number) const;
  // kNever if none has one.
  Instant NextDeadline() const;

  int64_t sequences() const { return static_cast<int64_t>(by_number_.size()); }
  int64_t tokens() const { return tokens_; }
  Nanoseconds predicted() const { return predicted_; }

 private:
  static size_t Index(Priority priority) { return static_cast<size_t>(priority); }

  std::array<InOrder, 2> order_;
  std::map<uint64_t, Sequence*> by_number_;
  std::map<std::pair<Instant, uint64_t>, Sequence*> by_deadline_;
  std::map<const ServedModel*, int64_t> by_model_;  // sequences
  int64_t tokens_ = 0;
  Nanoseconds predicted_{0};
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_SEQUENCE_QUEUE_H_
