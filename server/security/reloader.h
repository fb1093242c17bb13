#ifndef LONGWAVE_SERVER_SECURITY_RELOADER_H_
#define LONGWAVE_SERVER_SECURITY_RELOADER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "model/base/mutex.h"
#include "server/observability/log.h"
#include "server/security/sha256.h"

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
  // Takes the contents into use if they are others than at the last look, or were refused then:
  // what is wrong with them may be the time, as with a certificate that is not valid yet. Counted
  // are new contents and a new result for the old ones, not each attempt.
  void Look();

  int64_t successes() const { return successes_.load(std::memory_order_relaxed); }
  int64_t failures() const { return failures_.load(std::memory_order_relaxed); }

 private:
  struct State {
    absl::Status status;
    std::vector<std::string> contents;
    // Of the contents, or of why they cannot be read: the contents themselves may be secret.
    Sha256Digest digest{};
  };
  State Read() const;
  void Count(const absl::Status& status);

  const char* const event_;
  const std::vector<std::string> paths_;
  const Apply apply_;
  Logger* const log_;
  Sha256Digest last_{};
  absl::Status last_result_;
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
