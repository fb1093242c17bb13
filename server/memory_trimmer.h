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
  // What may lie free while nothing is computed: what a few calls need is not given back and taken
  // again.
  static constexpr int64_t kSpareBytes = int64_t{2} << 20;
  // The same in the midst of work: trimming holds up the threads that allocate, a tenth of a second
  // for 200 MiB, so there must be much to gain.
  static constexpr int64_t kBusySpareBytes = int64_t{1} << 30;
  static constexpr double kPauseSeconds = 10;  // after a trim
  // Between two questions to the allocator, which goes through all that is free, a lock held.
  static constexpr double kAskSeconds = 1;

  struct Memory {
    std::function<int64_t()> resident_bytes;  // 0: not known
    std::function<int64_t()> free_bytes;      // in the allocator
    std::function<void()> trim;
  };

  // The process's own memory.
  MemoryTrimmer();
  explicit MemoryTrimmer(Memory memory);

  // Trims the first time, and then if there is enough to gain and the last time is long enough ago.
  // To be called every now and then. `idle`: nothing is computed or waits.
  void Look(Instant now, bool idle);

 private:
  void Trim(Instant now);

  const Memory memory_;
  int64_t least_ = 0;  // resident bytes since the last trim; 0: there was none
  Instant next_{};
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_MEMORY_TRIMMER_H_
