#ifndef LONGWAVE_SERVER_OBSERVABILITY_LOG_H_
#define LONGWAVE_SERVER_OBSERVABILITY_LOG_H_

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/base/mutex.h"

namespace longwave {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
absl::string_view LogLevelName(LogLevel level);
// "debug", "info", "warning", "error"; INVALID_ARGUMENT names the known ones.
absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name);

// One name and value of a log line, already in the form of JSON. Only single values: there is no
// way to log token ids or embeddings.
class LogField {
 public:
  // May come from a client: made valid UTF-8, cut to 128 bytes, escaped.
  LogField(absl::string_view name, absl::string_view text);
  LogField(absl::string_view name, const char* text) : LogField(name, absl::string_view(text)) {}
  LogField(absl::string_view name, const std::string& text)
      : LogField(name, absl::string_view(text)) {}
  LogField(absl::string_view name, double value);
  LogField(absl::string_view name, std::same_as<bool> auto value)
      : LogField(Raw{}, name, value ? "true" : "false") {}
  LogField(absl::string_view name, std::integral auto value)
    requires(!std::same_as<decltype(value), bool>)
      : LogField(Raw{}, name, std::to_string(value)) {}

  const std::string& json() const { return json_; }  // "name":value

 private:
  struct Raw {};
  LogField(Raw, absl::string_view name, absl::string_view json_value);

  std::string json_;
};

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  int fd = 2;  // stays open, owned by the caller
  std::function<std::chrono::system_clock::time_point()> now = std::chrono::system_clock::now;
};

// Structured log: one event is one line of JSON in one write,
//   {"ts":"2026-01-31T12:00:00.123Z","level":"info","event":"request","code":"OK",...}
// Never blocks and never fails: a line that the descriptor cannot take at once (reader gone or not
// reading, disk full) is dropped and counted. Thread-safe.
class Logger {
 public:
  // Sets SIGPIPE to be ignored, so that a reader who left does not end the process.
  explicit Logger(LogOptions options);
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  // `event` and field names are constants of the source: snake case, no escaping needed.
  void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});
  void Info(absl::string_view event, std::initializer_list<LogField> fields = {}) {
    Log(LogLevel::kInfo, event, fields);
  }
  void Warning(absl::string_view event, std::initializer_list<LogField> fields = {}) {
    Log(LogLevel::kWarning, event, fields);
  }
  void Error(absl::string_view event, std::initializer_list<LogField> fields = {}) {
    Log(LogLevel::kError, event, fields);
  }
  // Whether lines of that level are written: what would be costly to put together need not be.
  bool Takes(LogLevel level) const { return level >= options_.level; }
  // Lines lost so far (GaugeSample::log_dropped).
  int64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  bool Write(absl::string_view line);

  const LogOptions options_;
  std::atomic<int64_t> dropped_{0};
  Mutex mutex_;  // held while writing: lines do not mix
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_LOG_H_
