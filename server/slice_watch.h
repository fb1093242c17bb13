#ifndef LONGWAVE_SERVER_SLICE_WATCH_H_
#define LONGWAVE_SERVER_SLICE_WATCH_H_

#include <atomic>
#include <cstdint>

namespace longwave {

// Notices a slice that does not end: a device that hangs reports no error. Counts its own looks
// instead of time, since a process that was stopped or starved did not look either and must not
// take its own absence for a hang.
class SliceWatch {
 public:
  // A slice that is under way at more than so many looks in a row is stuck; 0: none ever is.
  explicit SliceWatch(int64_t most_looks) : most_looks_(most_looks) {}

  // The executor.
  void Begin() { changes_.fetch_add(1, std::memory_order_relaxed); }
  void End() { changes_.fetch_add(1, std::memory_order_relaxed); }
  // One thread, at regular intervals. Whether the slice under way is stuck.
  bool Look() {
    const uint64_t changes = changes_.load(std::memory_order_relaxed);
    const bool same = changes == seen_ && changes % 2 == 1;
    seen_ = changes;
    looks_ = same ? looks_ + 1 : 0;
    return most_looks_ > 0 && looks_ > most_looks_;
  }

 private:
  const int64_t most_looks_;
  std::atomic<uint64_t> changes_{0};  // odd: a slice is under way
  uint64_t seen_ = 0;
  int64_t looks_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SLICE_WATCH_H_
