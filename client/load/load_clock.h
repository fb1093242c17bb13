#ifndef LONGWAVE_CLIENT_LOAD_LOAD_CLOCK_H_
#define LONGWAVE_CLIENT_LOAD_LOAD_CLOCK_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>

namespace longwave::load {

// The time of a run in seconds since its start, and ways to let it pass. Now is thread-safe.
class LoadClock {
 public:
  virtual ~LoadClock() = default;
  virtual double Now() const = 0;
  virtual void SleepUntil(double seconds) = 0;
  // Waits, with `lock` held as a condition variable does, until `done` or that time.
  virtual void Await(std::unique_lock<std::mutex>& lock, std::condition_variable& changed,
                     double seconds, const std::function<bool()>& done) = 0;
};

// Starts when it is made.
class SteadyLoadClock final : public LoadClock {
 public:
  double Now() const override {
    return std::chrono::duration<double>(Steady::now() - start_).count();
  }
  void SleepUntil(double seconds) override;
  void Await(std::unique_lock<std::mutex>& lock, std::condition_variable& changed, double seconds,
             const std::function<bool()>& done) override {
    changed.wait_until(lock, At(seconds), done);
  }
  // The same moment on the clock that deadlines are given in.
  std::chrono::system_clock::time_point SystemTime(double seconds) const {
    return system_start_ + std::chrono::duration_cast<std::chrono::system_clock::duration>(
                               std::chrono::duration<double>(seconds));
  }

 private:
  using Steady = std::chrono::steady_clock;
  Steady::time_point At(double seconds) const {
    // A time that no run reaches stands for "never"; an infinite one does not convert.
    constexpr double kNever = 1e9;
    return start_ + std::chrono::duration_cast<Steady::duration>(
                        std::chrono::duration<double>(std::min(seconds, kNever)));
  }

  const Steady::time_point start_ = Steady::now();
  const std::chrono::system_clock::time_point system_start_ = std::chrono::system_clock::now();
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_LOAD_CLOCK_H_
