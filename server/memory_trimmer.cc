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

// Of all arenas; what was given back already is among them.
int64_t FreeBytes() { return static_cast<int64_t>(mallinfo2().fordblks); }

}  // namespace

MemoryTrimmer::MemoryTrimmer()
    : MemoryTrimmer({ResidentBytes, FreeBytes, [] { malloc_trim(0); }}) {}

MemoryTrimmer::MemoryTrimmer(Memory memory) : memory_(std::move(memory)) {}

void MemoryTrimmer::Look(Instant now, bool idle) {
  const int64_t spare = idle ? kSpareBytes : kBusySpareBytes;
  const int64_t resident = memory_.resident_bytes();
  if (resident <= 0) return;
  if (least_ == 0) return Trim(now);  // what starting has left
  least_ = std::min(least_, resident);
  // No more can be gained than has come since, nor than lies free. Neither says it alone: what has
  // come may be in use, and what lies free may be gone already, or hemmed in by what is in use.
  if (now < next_ || resident - least_ < spare) return;
  if (memory_.free_bytes() < spare) {
    next_ = now + FromSeconds(kAskSeconds);
    return;
  }
  Trim(now);
}

void MemoryTrimmer::Trim(Instant now) {
  memory_.trim();
  least_ = memory_.resident_bytes();
  next_ = now + FromSeconds(kPauseSeconds);
}

}  // namespace longwave
