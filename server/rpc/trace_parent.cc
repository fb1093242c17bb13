#include "server/rpc/trace_parent.h"

#include <algorithm>

#include "absl/random/random.h"
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

// 64 bits, never all zero. Names lines of log; not a secret.
std::string NewId() {
  // Seeded by more than the 32 bits of a random_device: ids of a large fleet must differ.
  thread_local absl::BitGen generator;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(generator) | 1, absl::kZeroPad16));
}

// Of the flags' last hex digit, the lowest bit.
bool IsSampled(char digit) {
  return absl::string_view("13579bdf").find(digit) != std::string::npos;
}

}  // namespace

std::optional<TraceContext> ParseTraceParent(absl::string_view value) {
  if (value.size() < kBytes || value[2] != '-' || value[35] != '-' || value[52] != '-') {
    return std::nullopt;
  }
  const absl::string_view version = value.substr(0, 2);
  const absl::string_view trace = value.substr(3, 32);
  const absl::string_view parent = value.substr(36, 16);
  const absl::string_view flags = value.substr(53, 2);
  for (const absl::string_view part : {version, trace, parent, flags}) {
    if (!IsLowerHex(part)) return std::nullopt;
  }
  // Later versions may have more behind the flags, version 00 has not.
  const bool whole = value.size() == kBytes || (version != "00" && value[kBytes] == '-');
  if (!whole || version == "ff" || IsZero(trace) || IsZero(parent)) return std::nullopt;
  return TraceContext{.trace_id = std::string(trace),
                      .parent_span_id = std::string(parent),
                      .sampled = IsSampled(flags[1])};
}

TraceContext TraceContextOf(const grpc::ServerContextBase& context) {
  const auto [begin, end] = context.client_metadata().equal_range("traceparent");
  if (begin != end && std::next(begin) == end) {
    auto callers = ParseTraceParent({begin->second.data(), begin->second.size()});
    if (callers.has_value()) return *std::move(callers);
  }
  return {.trace_id = NewId() + NewId()};
}

std::string NewSpanId() { return NewId(); }

}  // namespace longwave
