#include "model/base/request_trace.h"

#include <algorithm>

namespace longwave {
namespace {

Nanoseconds Between(Instant from, Instant to) {
  if (from == Instant{} || to == Instant{} || to < from) return Nanoseconds(0);
  return std::chrono::duration_cast<Nanoseconds>(to - from);
}

Instant EarlierSet(Instant a, Instant b) {
  if (a == Instant{}) return b;
  if (b == Instant{}) return a;
  return std::min(a, b);
}

}  // namespace

void RequestTrace::MergeSequence(Instant sequence_popped, Instant sequence_first_step,
                                 Instant sequence_last_row) {
  popped = EarlierSet(popped, sequence_popped);
  first_step = EarlierSet(first_step, sequence_first_step);
  last_row = std::max(last_row, sequence_last_row);
}

StageTimes RequestTrace::Stages() const {
  StageTimes times;
  times.receive = Between(arrived, decoded);
  times.validate = Between(decoded, admitted);
  times.queue = Between(admitted, popped);
  times.compute = Between(first_step, last_row);
  times.serialise = Between(last_row, serialised);
  times.total = Between(arrived, finished);
  times.other =
      times.total - times.receive - times.validate - times.queue - times.compute - times.serialise;
  return times;
}

}  // namespace longwave
