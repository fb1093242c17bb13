#ifndef LONGWAVE_MODEL_BASE_REQUEST_TRACE_H_
#define LONGWAVE_MODEL_BASE_REQUEST_TRACE_H_

#include "model/base/clock.h"

namespace longwave {

// Durations of one request, all in the same clock. They add up:
// receive + validate + queue + compute + serialise + other = total.
struct StageTimes {
  Nanoseconds receive{0};    // first byte seen -> request decoded (a stream: until its End)
  Nanoseconds validate{0};   // decoded -> admitted to the queue
  Nanoseconds queue{0};      // admitted -> first sequence popped
  Nanoseconds compute{0};    // first Step -> last row
  Nanoseconds serialise{0};  // last row -> reply ready to send
  Nanoseconds other{0};      // what lies between the stages above
  Nanoseconds total{0};      // arrived -> finished
};

// The stamps of one request's way. Each seam sets its own; a stamp that is never reached stays at
// Instant{} and the stages that need it are zero. Not thread-safe: the owner of the request writes.
struct RequestTrace {
  Instant arrived{};
  Instant decoded{};
  Instant admitted{};
  Instant popped{};      // the first of the request's sequences
  Instant first_step{};  // the first of the request's sequences
  Instant last_row{};    // the last of the request's sequences
  Instant serialised{};
  Instant finished{};

  // Merges the stamps of one of the request's sequences.
  void MergeSequence(Instant sequence_popped, Instant sequence_first_step,
                     Instant sequence_last_row);
  // Precondition: `arrived` and `finished` are set.
  StageTimes Stages() const;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_REQUEST_TRACE_H_
