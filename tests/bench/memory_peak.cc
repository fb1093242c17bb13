#include "tests/bench/memory_peak.h"

#include <malloc.h>

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

// A line "VmHWM:   123 kB" of /proc/self/status.
absl::StatusOr<int64_t> StatusBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    int64_t kibibytes = 0;
    if (word == key && status >> kibibytes) return kibibytes * 1024;
  }
  return absl::UnavailableError(absl::StrCat("/proc/self/status has no ", key));
}

}  // namespace

absl::StatusOr<int64_t> PeakGrowth(const std::function<void()>& body) {
  malloc_trim(0);
  {
    std::ofstream reset("/proc/self/clear_refs");
    // 5: the peak starts again from what is resident now.
    reset << "5" << std::flush;
    if (!reset) return absl::UnavailableError("the peak of resident memory cannot be reset");
  }
  const absl::StatusOr<int64_t> before = StatusBytes("VmRSS:");
  if (!before.ok()) return before.status();
  body();
  const absl::StatusOr<int64_t> peak = StatusBytes("VmHWM:");
  if (!peak.ok()) return peak.status();
  return *peak - *before;
}

}  // namespace longwave
