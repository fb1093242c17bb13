#ifndef LONGWAVE_CLIENT_LOAD_RECORDER_H_
#define LONGWAVE_CLIENT_LOAD_RECORDER_H_

#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>
#include <vector>

#include "absl/types/span.h"
#include "client/load/call_sender.h"
#include "client/load/load_clock.h"
#include "client/load/load_result.h"
#include "client/load/reply_check.h"
#include "client/load/schedule.h"

namespace longwave::load {

struct RecorderOptions {
  std::vector<double> deadline_seconds;  // of each group; infinite: none
  double warmup_seconds = 0;
  double total_seconds = 0;  // of sending
  double interval_seconds = 1;
};

// Turns the ends of calls into figures. Thread-safe.
class Recorder final : public CallObserver {
 public:
  // `calls` and `clock` outlive the recorder.
  Recorder(RecorderOptions options, absl::Span<const PlannedCall> calls, const LoadClock* clock);

  void OnSent(int64_t number);
  // The call was due but never sent.
  void OnNotSent(int64_t number);
  void OnDone(int64_t number, CallResult result) override;

  int64_t in_flight() const;
  // Waits until nothing is in flight, or until that time of the run.
  void AwaitIdle(LoadClock* clock, double until);
  // To be called when the last call has been sent: remembers what is still in flight.
  void EndSending();
  // What ends from here on counts as left over.
  void Close();
  // When nothing is in flight any more. To be called once.
  LoadResult Take();

 private:
  bool Counts(const PlannedCall& call) const { return call.due_seconds >= options_.warmup_seconds; }
  IntervalResult& Interval(const PlannedCall& call);
  // With mutex_ held.
  void Note(int64_t number, const CallResult& result, double latency);
  void NoteOk(int64_t number, const CallResult& result, double latency, bool same);
  void NoteError(const PlannedCall& call, const CallResult& result, double latency);

  const RecorderOptions options_;
  const absl::Span<const PlannedCall> calls_;
  const LoadClock* const clock_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable idle_;
  ReplyCheck check_;
  LoadResult result_;
  std::vector<double> lateness_;  // seconds, of each call: sent after it was due
  int64_t in_flight_ = 0;
  std::vector<int64_t> group_in_flight_;  // of calls that count
  bool closed_ = false;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_RECORDER_H_
