#ifndef LONGWAVE_SERVER_MEMORY_TRIMMER_H_
#define LONGWAVE_SERVER_MEMORY_TRIMMER_H_

#include <cstdint>
#include <functional>

#include "model/base/clock.h"

namespace longwave {

// Gives memory that lies free in the allocator back to the system. glibc keeps what each of its
// arenas once needed, for ever: a few floods of connections, each met by other threads, left 1.8 GB
// in a process that used 1 MB. Not thread-safe.
class MemoryTrimmer {
 public:
  // What is above the least that the process has been seen with, and may stay while nothing is
  // computed.
  static constexpr int64_t kSpareBytes = int64_t{8} << 20;
  // The same in the midst of work: trimming holds up the threads that allocate, a tenth of a second
  // for 200 MiB, so there must be much to gain.
  static constexpr int64_t kBusySpareBytes = int64_t{1} << 30;
  static constexpr double kPauseSeconds = 10;

  struct Memory {
    std::function<int64_t()> resident_bytes;  // 0: not known
    std::function<void()> trim;
  };

  // The process's own memory.
  MemoryTrimmer();
  explicit MemoryTrimmer(Memory memory);

  // Trims if there is enough to gain and the last time is long enough ago. To be called every now
  // and then. `idle`: nothing is computed or waits.
  void Look(Instant now, bool idle);

 private:
  const Memory memory_;
  int64_t least_ = 0;  // resident bytes, ever; 0: not looked yet
  Instant next_{};
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MEMORY_TRIMMER_H_
