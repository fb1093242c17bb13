#include "client/load/recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave::load {
namespace {

std::string EndingName(const CallResult& result) {
  std::string name = absl::StatusCodeToString(result.code);
  if (!result.reason.empty()) absl::StrAppend(&name, " ", result.reason);
  return name;
}

}  // namespace

Recorder::Recorder(RecorderOptions options, absl::Span<const PlannedCall> calls,
                   const LoadClock* clock)
    : options_(std::move(options)), calls_(calls), clock_(clock) {
  const size_t groups = options_.deadline_seconds.size();
  const auto intervals =
      static_cast<size_t>(options_.total_seconds / options_.interval_seconds) + 1;
  result_.seconds = options_.total_seconds - options_.warmup_seconds;
  result_.interval_seconds = options_.interval_seconds;
  result_.groups.resize(groups);
  result_.intervals.assign(groups, std::vector<IntervalResult>(intervals));
  group_in_flight_.resize(groups);
  lateness_.resize(calls_.size());
}

IntervalResult& Recorder::Interval(const PlannedCall& call) {
  std::vector<IntervalResult>& intervals = result_.intervals[call.group];
  const auto index = static_cast<size_t>(call.due_seconds / options_.interval_seconds);
  return intervals[std::min(index, intervals.size() - 1)];
}

void Recorder::OnSent(int64_t number) {
  const PlannedCall& call = calls_[number];
  const double lateness = clock_->Now() - call.due_seconds;
  std::lock_guard<std::mutex> lock(mutex_);
  lateness_[number] = lateness;
  ++in_flight_;
  if (call.cancel_after_seconds < 0) ++Interval(call).offered;
  if (!Counts(call)) return;
  ++group_in_flight_[call.group];
  ++result_.groups[call.group].offered;
  result_.groups[call.group].offered_tokens += call.tokens;
  result_.lateness.Record(lateness);
}

void Recorder::OnNotSent(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++result_.not_sent;
}

void Recorder::OnDone(int64_t number, CallResult result) {
  const PlannedCall& call = calls_[number];
  const double latency = clock_->Now() - call.due_seconds;
  std::lock_guard<std::mutex> lock(mutex_);
  Note(number, result, latency);
  --in_flight_;
  if (Counts(call)) --group_in_flight_[call.group];
  // Under the lock: whoever waits may destroy this object as soon as it has the lock.
  if (in_flight_ == 0) idle_.notify_all();
}

void Recorder::Note(int64_t number, const CallResult& result, double latency) {
  const PlannedCall& call = calls_[number];
  GroupResult& group = result_.groups[call.group];
  if (closed_) {
    if (Counts(call)) ++group.left;
    return;
  }
  // A planned cancellation that came too late leaves an answer like any other.
  if (result.code == absl::StatusCode::kCancelled && call.cancel_after_seconds >= 0) {
    if (Counts(call)) ++group.cancelled;
    return;
  }
  const bool ok = result.code == absl::StatusCode::kOk;
  // Replies of the warm-up are looked at too: what is right may be learned from them.
  const bool same =
      !ok || check_.Take(result.model_identity, call.tokens, call.document, result.content);
  if (Counts(call)) {
    EndedAlike& ending = group.endings[EndingName(result)];
    ++ending.calls;
    ending.latency.Record(latency);
  }
  if (ok) {
    NoteOk(number, result, latency, same);
  } else {
    NoteError(call, result, latency);
  }
}

void Recorder::NoteOk(int64_t number, const CallResult& result, double latency, bool same) {
  const PlannedCall& call = calls_[number];
  GroupResult& group = result_.groups[call.group];
  const bool in_time = latency <= options_.deadline_seconds[call.group];
  // Wrong bytes count wherever they come.
  if (!same) ++group.wrong;
  if (same && in_time) {
    ++Interval(call).good;
    Interval(call).good_tokens += call.tokens;
  } else {
    ++Interval(call).failed;
  }
  if (!Counts(call)) return;
  const double since_sent = latency - lateness_[number];
  group.since_sent.Record(since_sent);
  group.overhead.Record(since_sent - result.compute_seconds);
  group.queue.Record(result.queue_seconds);
  group.compute.Record(result.compute_seconds);
  group.server.Record(result.server_seconds);
  if (!in_time) ++group.late;
  if (!same || !in_time) return;
  ++group.good;
  group.good_tokens += call.tokens;
  group.latency.Record(latency);
}

void Recorder::NoteError(const PlannedCall& call, const CallResult& result, double latency) {
  GroupResult& group = result_.groups[call.group];
  IntervalResult& interval = Interval(call);
  const bool counts = Counts(call);
  if (result.code == absl::StatusCode::kResourceExhausted ||
      result.code == absl::StatusCode::kUnavailable) {
    ++interval.shed;
    group.shed += counts;
    if (counts) group.shed_latency.Record(latency);
  } else if (result.code == absl::StatusCode::kDeadlineExceeded) {
    ++interval.expired;
    group.expired += counts;
  } else {
    ++interval.failed;
    group.failed += counts;
  }
}

int64_t Recorder::in_flight() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return in_flight_;
}

void Recorder::AwaitIdle(LoadClock* clock, double until) {
  std::unique_lock<std::mutex> lock(mutex_);
  clock->Await(lock, idle_, until, [this] { return in_flight_ == 0; });
}

void Recorder::EndSending() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (size_t i = 0; i < result_.groups.size(); ++i) {
    result_.groups[i].in_flight_at_end = group_in_flight_[i];
  }
}

void Recorder::Close() {
  std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
}

LoadResult Recorder::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  result_.models = check_.models();
  return std::move(result_);
}

}  // namespace longwave::load
