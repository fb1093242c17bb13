#include "server/rpc/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <atomic>

namespace longwave {
namespace {

std::atomic<Logger*> target{nullptr};

void Forward(LogLevel level, absl::string_view event, absl::string_view message) {
  Logger* const log = target.load();
  if (log != nullptr) log->Log(level, event, {{"message", message}});
}

// What gRPC calls an error is mostly a peer's doing, not a fault of this process.
void ForwardGrpc(gpr_log_func_args* arguments) {
  const bool error = arguments->severity == GPR_LOG_SEVERITY_ERROR;
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

}  // namespace longwave
