#include "server/observability/log.h"

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

// A pipe that polls as writable takes this much without blocking (PIPE_BUF of Linux).
constexpr size_t kMaxLineBytes = 4096;
constexpr absl::string_view kCut = ",\"cut\":true}\n";

constexpr std::array<absl::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};

std::string Timestamp(std::chrono::system_clock::time_point now) {
  const auto since = std::chrono::floor<std::chrono::milliseconds>(now.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const time_t time = seconds.count();
  struct tm utc = {};
  gmtime_r(&time, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                         static_cast<int>((since - seconds).count()));
}

std::string DoubleJson(double value) {
  // JSON has no way to write these as numbers.
  if (!std::isfinite(value)) return absl::StrCat("\"", value, "\"");
  return absl::StrFormat("%.9g", value);
}

}  // namespace

absl::string_view LogLevelName(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

absl::StatusOr<LogLevel> ParseLogLevel(absl::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown log level '", SafeText(name), "' (debug, info, warning, error)"));
}

LogField::LogField(Raw, absl::string_view name, absl::string_view json_value)
    : json_(absl::StrCat("\"", name, "\":", json_value)) {}

LogField::LogField(absl::string_view name, absl::string_view text)
    : LogField(Raw{}, name, absl::StrCat("\"", JsonEscape(SafeText(text)), "\"")) {}

LogField::LogField(absl::string_view name, double value)
    : LogField(Raw{}, name, DoubleJson(value)) {}

Logger::Logger(LogOptions options) : options_(std::move(options)) { std::signal(SIGPIPE, SIG_IGN); }

void Logger::Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields) {
  if (!Takes(level)) return;
  std::string line = absl::StrCat("{\"ts\":\"", Timestamp(options_.now()), "\",\"level\":\"",
                                  LogLevelName(level), "\",\"event\":\"", event, "\"");
  absl::string_view end = "}\n";
  for (const LogField& field : fields) {
    if (line.size() + 1 + field.json().size() + kCut.size() > kMaxLineBytes) {
      end = kCut;
      break;
    }
    absl::StrAppend(&line, ",", field.json());
  }
  absl::StrAppend(&line, end);
  if (!Write(line)) dropped_.fetch_add(1, std::memory_order_relaxed);
}

bool Logger::Write(absl::string_view line) {
  MutexLock lock(&mutex_);
  bool begun = false;
  while (!line.empty()) {
    // Only the first piece may be refused: the rest of a begun line is waited for, shortly, so that
    // the next line starts on its own.
    struct pollfd ready = {options_.fd, POLLOUT, 0};
    const int polled = poll(&ready, 1, begun ? 100 : 0);
    if (polled < 0 && errno == EINTR) continue;
    if (polled <= 0) return false;
    const ssize_t written = write(options_.fd, line.data(), line.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    begun = true;
    line.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace longwave
