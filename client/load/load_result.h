#ifndef LONGWAVE_CLIENT_LOAD_LOAD_RESULT_H_
#define LONGWAVE_CLIENT_LOAD_LOAD_RESULT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/load/histogram.h"

namespace longwave::load {

// Calls that ended alike.
struct EndedAlike {
  int64_t calls = 0;
  Histogram latency;
};

// What came of the calls of one group that count: due after the warm-up. Every latency is measured
// from the moment the call was due, not from the moment it was sent.
struct GroupResult {
  int64_t offered = 0;
  int64_t offered_tokens = 0;
  int64_t good = 0;  // OK, within the deadline, and the right bytes
  int64_t good_tokens = 0;
  int64_t late = 0;              // OK behind the deadline
  int64_t wrong = 0;             // OK with other bytes than the same ids got before
  int64_t shed = 0;              // RESOURCE_EXHAUSTED or UNAVAILABLE: the server did not try
  int64_t expired = 0;           // DEADLINE_EXCEEDED
  int64_t failed = 0;            // any other error
  int64_t cancelled = 0;         // by us, as planned
  int64_t left = 0;              // without an end when the run was over
  int64_t in_flight_at_end = 0;  // of sending

  Histogram latency;       // of good calls
  Histogram shed_latency;  // of shed calls
  // By code and reason: "OK", "RESOURCE_EXHAUSTED QUEUE_FULL".
  std::map<std::string, EndedAlike> endings;
  // Of OK replies: what the call took from its sending, which a late generator does not lengthen,
  // and that less compute: what server, network and client add.
  Histogram since_sent;
  Histogram overhead;
  // Of OK replies, by the server's own account.
  Histogram queue;
  Histogram compute;
  Histogram server;

  void Merge(const GroupResult& other);
};

// Calls that were due in one stretch of time, warm-up included.
struct IntervalResult {
  int64_t offered = 0;
  int64_t good = 0;
  int64_t good_tokens = 0;
  int64_t shed = 0;
  int64_t expired = 0;
  int64_t failed = 0;  // late and wrong ones too
};

// What a run has seen.
struct LoadResult {
  double seconds = 0;  // that count: from the end of the warm-up to the end of sending
  double interval_seconds = 0;
  std::vector<GroupResult> groups;
  // Of each group, one after another from the start of the run.
  std::vector<std::vector<IntervalResult>> intervals;
  Histogram lateness;               // of sending
  int64_t not_sent = 0;             // too many in flight already
  std::vector<std::string> models;  // that computed replies
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_LOAD_RESULT_H_
