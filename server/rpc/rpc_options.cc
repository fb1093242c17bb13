#include "server/rpc/rpc_options.h"

#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

// A year: far beyond any use, and far from where nanoseconds overflow.
constexpr double kLongestSeconds = 366.0 * 24 * 3600;
// A dozen of the longest messages.
constexpr int64_t kLeastTransportBytes = 64 << 20;

void CheckSeconds(const char* flag, double value, double least,
                  std::vector<std::string>& problems) {
  if (!(value >= least && value <= kLongestSeconds)) {
    problems.push_back(absl::StrCat(flag, " = ", value, ": accepted are ", least, " to ",
                                    kLongestSeconds, " seconds"));
  }
}

absl::Status ToStatus(const std::vector<std::string>& problems) {
  if (problems.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
}

}  // namespace

absl::Status CallOptions::Validate() const {
  std::vector<std::string> problems;
  if (absl::Status status = limits.Validate(); !status.ok()) {
    problems.emplace_back(status.message());
  }
  CheckSeconds("--max_deadline", max_deadline_seconds, 0.001, problems);
  CheckSeconds("--max_stream_deadline", max_stream_deadline_seconds, 0.001, problems);
  if (stream_buffer_bytes < kMaxChunkBytes || stream_buffer_bytes > (int64_t{1} << 30)) {
    problems.push_back(absl::StrCat("--stream_buffer_bytes = ", stream_buffer_bytes,
                                    ": accepted are ", kMaxChunkBytes, " to ", 1 << 30));
  }
  if (max_stream_tags < 1 || max_stream_tags > 65536) {
    problems.push_back(
        absl::StrCat("--max_stream_tags = ", max_stream_tags, ": accepted are 1 to 65536"));
  }
  if (max_receiving_bytes < kMaxChunkBytes) {
    problems.push_back(absl::StrCat("--max_receiving_bytes = ", max_receiving_bytes,
                                    ": accepted are ", kMaxChunkBytes, " and more"));
  }
  return ToStatus(problems);
}

absl::Status PortOptions::Validate() const {
  std::vector<std::string> problems;
  if (address.find(':') == std::string::npos) {
    problems.push_back(
        absl::StrCat("--address = '", address, "': accepted is HOST:PORT or unix:PATH"));
  }
  if (max_connection_age_seconds != 0) {
    // gRPC takes milliseconds as int.
    const double most = std::numeric_limits<int>::max() / 1000;
    if (!(max_connection_age_seconds >= 1 && max_connection_age_seconds <= most)) {
      problems.push_back(absl::StrCat("--max_connection_age = ", max_connection_age_seconds,
                                      ": accepted are 0 (never) and 1 to ", most, " seconds"));
    }
  }
  if (!(handshake_timeout_seconds >= 0.1 && handshake_timeout_seconds <= 600)) {
    problems.push_back(absl::StrCat("--handshake_timeout = ", handshake_timeout_seconds,
                                    ": accepted are 0.1 to 600 seconds"));
  }
  if (max_concurrent_streams < 1) {
    problems.push_back(absl::StrCat("--max_concurrent_streams = ", max_concurrent_streams,
                                    ": accepted are 1 and more"));
  }
  if (max_transport_bytes < kLeastTransportBytes) {
    problems.push_back(absl::StrCat("--max_transport_bytes = ", max_transport_bytes,
                                    ": accepted are ", kLeastTransportBytes, " and more"));
  }
  return ToStatus(problems);
}

}  // namespace longwave
