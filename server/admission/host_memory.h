#ifndef LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_
#define LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

namespace longwave {

// Bytes of the host that are reserved for requests, all together. Thread-safe.
class HostMemory {
 public:
  int64_t reserved() const { return reserved_.load(); }

 private:
  friend class HostReservation;
  std::atomic<int64_t> reserved_{0};
};

// Some of them, given back when this goes: on any thread, and after the account's owner too.
class HostReservation {
 public:
  HostReservation() = default;
  // Reserves: whether there is room was decided before.
  HostReservation(std::shared_ptr<HostMemory> memory, int64_t bytes)
      : memory_(std::move(memory)), bytes_(bytes) {
    memory_->reserved_.fetch_add(bytes_);
  }
  HostReservation(HostReservation&& other) noexcept
      : memory_(std::move(other.memory_)), bytes_(other.bytes_) {}
  HostReservation& operator=(HostReservation&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~HostReservation() {
    if (memory_ != nullptr) memory_->reserved_.fetch_sub(bytes_);
  }

 private:
  std::shared_ptr<HostMemory> memory_;  // null: nothing is reserved
  int64_t bytes_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_
