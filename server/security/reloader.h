#ifndef LONGWAVE_SERVER_SECURITY_RELOADER_H_
#define LONGWAVE_SERVER_SECURITY_RELOADER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "model/base/mutex.h"
#include "server/observability/log.h"

namespace longwave {

// Files whose contents are in use, looked at again and again. Contents that cannot be used change
// nothing but a counter. Not thread-safe but for the counters: one thread looks.
class Reloader {
 public:
  // Takes contents into use (in the order of the paths), or says why not and changes nothing.
  using Apply = std::function<absl::Status(const std::vector<std::string>& contents)>;

  // `event` names the log lines: a constant of the source. `log` (may be null) outlives this.
  Reloader(const char* event, std::vector<std::string> paths, Apply apply, Logger* log);

  // The first time: everything must be right. Nothing is counted.
  absl::Status Load();
  // Looks whether the contents are others than at the last look, and if so takes them into use.
  // Each state of the files counts once, as a success or as a failure.
  void Look();

  int64_t successes() const { return successes_.load(std::memory_order_relaxed); }
  int64_t failures() const { return failures_.load(std::memory_order_relaxed); }

 private:
  // Of the contents, or of why they cannot be read: the contents themselves may be secret.
  using Digest = std::array<unsigned char, 32>;
  struct State {
    absl::Status status;
    std::vector<std::string> contents;
    Digest digest{};
  };
  State Read() const;
  void Count(const absl::Status& status);

  const char* const event_;
  const std::vector<std::string> paths_;
  const Apply apply_;
  Logger* const log_;
  Digest last_{};
  std::atomic<int64_t> successes_{0};
  std::atomic<int64_t> failures_{0};
};

// Lets reloaders look at a steady pace on a thread of its own.
class ReloadLoop {
 public:
  // The reloaders outlive the loop.
  ReloadLoop(std::vector<Reloader*> reloaders, Nanoseconds interval);
  ~ReloadLoop();
  ReloadLoop(const ReloadLoop&) = delete;
  ReloadLoop& operator=(const ReloadLoop&) = delete;

 private:
  void Run();

  const std::vector<Reloader*> reloaders_;
  const Nanoseconds interval_;
  Mutex mutex_;
  CondVar changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SECURITY_RELOADER_H_
