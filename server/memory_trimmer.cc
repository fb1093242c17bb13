#include "server/memory_trimmer.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

namespace longwave {
namespace {

int64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  if (!(statm >> size >> resident)) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace

MemoryTrimmer::MemoryTrimmer() : MemoryTrimmer({ResidentBytes, [] { malloc_trim(0); }}) {}

MemoryTrimmer::MemoryTrimmer(Memory memory) : memory_(std::move(memory)) {}

void MemoryTrimmer::Look(Instant now, bool idle) {
  const int64_t before = memory_.resident_bytes();
  if (before <= 0) return;
  if (least_ == 0) least_ = before;
  least_ = std::min(least_, before);
  if (now < next_ || before < least_ + (idle ? kSpareBytes : kBusySpareBytes)) return;
  memory_.trim();
  const int64_t after = memory_.resident_bytes();
  if (after > 0) least_ = std::min(least_, after);
  next_ = now + FromSeconds(kPauseSeconds);
}

}  // namespace longwave
