#ifndef LONGWAVE_SERVER_SCHEDULING_SEQUENCE_H_
#define LONGWAVE_SERVER_SCHEDULING_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <tuple>
#include <vector>

#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "server/scheduling/consumer_gate.h"
#include "server/scheduling/flow.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// Decides who is served first within a class: the least is next.
struct OrderKey {
  double finish = 0;  // VirtualClock's tag of the request
  Instant deadline = kNever;
  uint64_t number = 0;  // order of arrival; unique

  friend bool operator<(const OrderKey& a, const OrderKey& b) {
    return std::tie(a.finish, a.deadline, a.number) < std::tie(b.finish, b.deadline, b.number);
  }
};

// A sequence between Submit and its end. Owned by the queue or by a job.
struct Sequence {
  std::shared_ptr<ServedModel> model;
  std::vector<int32_t> token_ids;  // empty once a job that rides alone has taken them
  OutputSpec output;
  Route route = Route::kAuto;
  bool streamed = false;
  std::shared_ptr<ConsumerGate> gate;

  Scheduler::Ticket ticket = 0;
  Flow flow;
  OrderKey key;
  int64_t tokens = 0;
  Nanoseconds predicted{0};    // by the cost model: its part of a batch
  double encoder_seconds = 0;  // by the encoder: the same at any time, so the order goes by it
  Route predicted_route = Route::kAuto;
  int64_t peak_bytes = 0;
  int64_t slices = 1;  // predicted
  bool alone =
      false;       // takes no mates: long, streamed, or tried again after a batch ran out of memory
  int passed = 0;  // long ones that were started while this one had no room
  int64_t arrival_slice = 0;  // slices that the executor had run when it arrived

  // Rows that the consumer has taken. A second try computes the same bits, so it goes on from here.
  int64_t rows_taken = 0;
  SequenceTimes times;
};

// When work that needs `seconds` more goes before its flow's order: with every second slice from
// here on, but for the one in ten that goes to what has waited long, it ends by its deadline.
inline Instant DueTime(Instant deadline, Nanoseconds seconds) {
  return deadline == kNever ? kNever : deadline - 5 * seconds / 2;
}

using Sequences = std::vector<std::unique_ptr<Sequence>>;

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_SEQUENCE_H_
