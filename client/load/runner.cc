#include "client/load/runner.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <utility>
#include <vector>

namespace longwave::load {
namespace {

constexpr double kForever = std::numeric_limits<double>::infinity();
// How often progress is told while nothing is due.
constexpr double kProgressSeconds = 0.1;

// Calls to cancel, the soonest first.
class Cancellations {
 public:
  void Add(double seconds, int64_t number) { waiting_.push({seconds, number}); }
  double next() const { return waiting_.empty() ? kForever : waiting_.top().first; }
  int64_t Pop() {
    const int64_t number = waiting_.top().second;
    waiting_.pop();
    return number;
  }

 private:
  using Entry = std::pair<double, int64_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> waiting_;
};

class Run {
 public:
  Run(double total_seconds, const RunOptions& options, CallSender* sender, Recorder* recorder,
      LoadClock* clock)
      : total_seconds_(total_seconds),
        options_(options),
        sender_(sender),
        recorder_(recorder),
        clock_(clock) {}

  void Send(int64_t number, const PlannedCall& call) {
    SleepUntil(call.due_seconds);
    if (recorder_->in_flight() >= options_.max_in_flight) {
      recorder_->OnNotSent(number);
      return;
    }
    recorder_->OnSent(number);
    sender_->Send(number, call);
    if (call.cancel_after_seconds >= 0) {
      cancellations_.Add(call.due_seconds + call.cancel_after_seconds, number);
    }
  }

  // Does what is to be done before that time, and lets it come.
  void SleepUntil(double seconds) {
    while (true) {
      const double now = clock_->Now();
      while (cancellations_.next() <= now) sender_->Cancel(cancellations_.Pop());
      if (options_.progress) options_.progress(std::min(1.0, now / total_seconds_));
      if (now >= seconds) return;
      double next = std::min(seconds, cancellations_.next());
      if (options_.progress) next = std::min(next, now + kProgressSeconds);
      clock_->SleepUntil(next);
    }
  }

  void CancelRest() {
    while (cancellations_.next() < kForever && recorder_->in_flight() > 0) {
      SleepUntil(cancellations_.next());
    }
  }

 private:
  const double total_seconds_;
  const RunOptions& options_;
  CallSender* const sender_;
  Recorder* const recorder_;
  LoadClock* const clock_;
  Cancellations cancellations_;
};

}  // namespace

void RunSchedule(absl::Span<const PlannedCall> calls, double total_seconds,
                 const RunOptions& options, CallSender* sender, Recorder* recorder,
                 LoadClock* clock) {
  Run run(total_seconds, options, sender, recorder, clock);
  for (size_t i = 0; i < calls.size(); ++i) run.Send(static_cast<int64_t>(i), calls[i]);
  // The schedule goes on to its end, also where no more call is due: rates are calls by that time.
  run.SleepUntil(total_seconds);
  recorder->EndSending();
  run.CancelRest();
  recorder->AwaitIdle(clock, total_seconds + options.drain_seconds);
  recorder->Close();
  sender->CancelAll();
  recorder->AwaitIdle(clock, kForever);
}

}  // namespace longwave::load
