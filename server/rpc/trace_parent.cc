#include "server/rpc/trace_parent.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

// version "-" trace id "-" parent id "-" flags.
constexpr size_t kBytes = 2 + 1 + 32 + 1 + 16 + 1 + 2;

bool IsLowerHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c == '0'; });
}

std::string NewTraceId() {
  // Names a line of log; not a secret.
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return absl::StrCat(absl::Hex(generator() | 1, absl::kZeroPad16),
                      absl::Hex(generator(), absl::kZeroPad16));
}

}  // namespace

std::string ParseTraceParent(absl::string_view value) {
  if (value.size() < kBytes || value[2] != '-' || value[35] != '-' || value[52] != '-') return "";
  const absl::string_view version = value.substr(0, 2);
  const absl::string_view trace = value.substr(3, 32);
  const absl::string_view parent = value.substr(36, 16);
  const absl::string_view flags = value.substr(53, 2);
  for (const absl::string_view part : {version, trace, parent, flags}) {
    if (!IsLowerHex(part)) return "";
  }
  // Later versions may have more behind the flags, version 00 has not.
  const bool whole = value.size() == kBytes || (version != "00" && value[kBytes] == '-');
  if (!whole || version == "ff" || IsZero(trace) || IsZero(parent)) return "";
  return std::string(trace);
}

std::string TraceIdOf(const grpc::ServerContextBase& context) {
  const auto [begin, end] = context.client_metadata().equal_range("traceparent");
  std::string trace;
  if (begin != end && std::next(begin) == end) {
    trace = ParseTraceParent({begin->second.data(), begin->second.size()});
  }
  return trace.empty() ? NewTraceId() : trace;
}

}  // namespace longwave
