#ifndef LONGWAVE_MODEL_BASE_CLOCK_H_
#define LONGWAVE_MODEL_BASE_CLOCK_H_

#include <atomic>
#include <chrono>

namespace longwave {

// A point of monotonic time. The wall clock appears in log lines only.
using Instant = std::chrono::steady_clock::time_point;
using Nanoseconds = std::chrono::nanoseconds;

// The largest instant: "no deadline".
inline constexpr Instant kNever = Instant::max();

inline double ToSeconds(Nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}
inline Nanoseconds FromSeconds(double seconds) {
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(seconds));
}

// Time as a parameter, so that no test sleeps. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  Instant Now() const override { return std::chrono::steady_clock::now(); }
};

// Moves only when told to. Starts at an arbitrary fixed instant, the same in every run.
class FakeClock final : public Clock {
 public:
  Instant Now() const override { return Instant(Nanoseconds(now_.load())); }
  void Advance(Nanoseconds by) { now_.fetch_add(by.count()); }
  void AdvanceSeconds(double seconds) { Advance(FromSeconds(seconds)); }

 private:
  std::atomic<int64_t> now_{1'000'000'000};
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_BASE_CLOCK_H_
