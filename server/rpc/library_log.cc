#include "server/rpc/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <atomic>

#include "absl/strings/match.h"
#include "model/base/clock.h"

namespace longwave {
namespace {

// Peers decide how much gRPC has to say: more lines than this in a second are counted, not written.
constexpr int64_t kMaxLinesPerSecond = 20;

std::atomic<Logger*> target{nullptr};
std::atomic<int64_t> handshake_failures{0};

// Which second it is, and how many lines it has seen. Two threads at the turn of a second may both
// write one line more; nobody is hurt.
std::atomic<int64_t> current_second{0};
std::atomic<int64_t> lines_this_second{0};

void Forward(LogLevel level, absl::string_view event, absl::string_view message) {
  Logger* const log = target.load();
  if (log == nullptr) return;
  const int64_t second = std::chrono::duration_cast<std::chrono::seconds>(
                             std::chrono::steady_clock::now().time_since_epoch())
                             .count();
  if (current_second.exchange(second) != second) {
    const int64_t suppressed = lines_this_second.exchange(0) - kMaxLinesPerSecond;
    if (suppressed > 0) log->Warning("library_log_suppressed", {{"lines", suppressed}});
  }
  if (lines_this_second.fetch_add(1) < kMaxLinesPerSecond) {
    log->Log(level, event, {{"message", message}});
  }
}

// What gRPC calls an error is mostly a peer's doing, not a fault of this process.
void ForwardGrpc(gpr_log_func_args* arguments) {
  const bool error = arguments->severity == GPR_LOG_SEVERITY_ERROR;
  if (error && absl::StartsWith(arguments->message, "Handshake failed")) {
    handshake_failures.fetch_add(1, std::memory_order_relaxed);
  }
  Forward(error ? LogLevel::kWarning : LogLevel::kDebug, "grpc", arguments->message);
}

// Bytes that do not parse: the caller is told, and counted.
void ForwardProtobuf(google::protobuf::LogLevel level, const char* /*file*/, int /*line*/,
                     const std::string& message) {
  const bool fatal = level == google::protobuf::LOGLEVEL_FATAL;
  Forward(fatal ? LogLevel::kError : LogLevel::kDebug, "protobuf", message);
}

}  // namespace

LibraryLogRedirect::LibraryLogRedirect(Logger* log) {
  target.store(log);
  gpr_set_log_function(ForwardGrpc);
  google::protobuf::SetLogHandler(ForwardProtobuf);
}

LibraryLogRedirect::~LibraryLogRedirect() {
  gpr_set_log_function(nullptr);  // its own again
  google::protobuf::SetLogHandler(nullptr);
  target.store(nullptr);
}

int64_t LibraryLogRedirect::handshake_failures() {
  return longwave::handshake_failures.load(std::memory_order_relaxed);
}

}  // namespace longwave
