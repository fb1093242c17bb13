#ifndef LONGWAVE_TESTS_UNIT_CLIENT_LOAD_FAKE_RUN_H_
#define LONGWAVE_TESTS_UNIT_CLIENT_LOAD_FAKE_RUN_H_

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/load/call_sender.h"
#include "client/load/load_clock.h"

namespace longwave::load {

// Time that passes only when somebody sleeps. Things can be planned to happen in it.
class FakeLoadClock final : public LoadClock {
 public:
  double Now() const override { return now_; }
  void SleepUntil(double seconds) override { Advance(seconds + oversleep); }
  void Await(std::unique_lock<std::mutex>& lock, std::condition_variable&, double seconds,
             const std::function<bool()>& done) override {
    while (!done() && !events_.empty() && events_.begin()->first <= seconds) {
      const double next = events_.begin()->first;
      lock.unlock();
      Advance(next);
      lock.lock();
    }
    if (!done() && std::isfinite(seconds)) now_ = std::max(now_, seconds);
  }
  void At(double seconds, std::function<void()> event) {
    events_.emplace(seconds, std::move(event));
  }
  // Spends time where the code under test did not mean to: a slow machine.
  void Lose(double seconds) { now_ += seconds; }

  double oversleep = 0;

 private:
  void Advance(double seconds) {
    while (!events_.empty() && events_.begin()->first <= seconds) {
      const auto event = std::move(events_.begin()->second);
      now_ = std::max(now_, events_.begin()->first);
      events_.erase(events_.begin());
      event();
    }
    now_ = std::max(now_, seconds);
  }

  double now_ = 0;
  std::multimap<double, std::function<void()>> events_;
};

// Answers each call after a scripted time.
class FakeSender final : public CallSender {
 public:
  FakeSender(FakeLoadClock* clock, CallObserver* observer) : clock_(clock), observer_(observer) {}

  void Send(int64_t number, const PlannedCall& call) override {
    sent.push_back(clock_->Now());
    open_.insert(number);
    const double seconds = latency(call);
    if (std::isinf(seconds)) return;  // never answers
    clock_->At(clock_->Now() + seconds, [this, number, call] { End(number, answer(call)); });
  }
  void Cancel(int64_t number) override {
    cancelled.push_back(number);
    End(number, {.code = absl::StatusCode::kCancelled});
  }
  void CancelAll() override {
    while (!open_.empty()) End(*open_.begin(), {.code = absl::StatusCode::kCancelled});
  }

  std::function<double(const PlannedCall&)> latency = [](const PlannedCall&) { return 0.01; };
  std::function<CallResult(const PlannedCall&)> answer = [](const PlannedCall& call) {
    return CallResult{.model_identity = "m", .content = call.tokens * 1000 + call.document};
  };
  std::vector<double> sent;  // when
  std::vector<int64_t> cancelled;

 private:
  void End(int64_t number, CallResult result) {
    if (open_.erase(number) > 0) observer_->OnDone(number, std::move(result));
  }

  FakeLoadClock* const clock_;
  CallObserver* const observer_;
  std::set<int64_t> open_;
};

// `count` calls of one group, one every `gap` seconds, the first at `gap`.
inline std::vector<PlannedCall> EvenCalls(int count, double gap, uint32_t tokens = 100) {
  std::vector<PlannedCall> calls(count);
  for (int i = 0; i < count; ++i) {
    calls[i].due_seconds = (i + 1) * gap;
    calls[i].tokens = tokens;
  }
  return calls;
}

}  // namespace longwave::load

#endif  // LONGWAVE_TESTS_UNIT_CLIENT_LOAD_FAKE_RUN_H_
