#ifndef LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_
#define LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace longwave {

// Bytes of the host that are reserved for some requests together. Thread-safe.
class HostMemory {
 public:
  int64_t reserved() const { return reserved_.load(); }

 private:
  friend class HostReservation;
  std::atomic<int64_t> reserved_{0};
};

using HostAccounts = std::vector<std::shared_ptr<HostMemory>>;

// Bytes that count in each of several accounts, given back when this goes: on any thread, and after
// the accounts' owner too.
class HostReservation {
 public:
  HostReservation() = default;
  // Reserves: whether there is room was decided before.
  HostReservation(HostAccounts accounts, int64_t bytes)
      : accounts_(std::move(accounts)), bytes_(bytes) {
    for (const auto& account : accounts_) account->reserved_.fetch_add(bytes_);
  }
  HostReservation(HostReservation&& other) noexcept
      : accounts_(std::exchange(other.accounts_, {})), bytes_(other.bytes_) {}
  HostReservation& operator=(HostReservation&& other) noexcept {
    std::swap(accounts_, other.accounts_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~HostReservation() {
    for (const auto& account : accounts_) account->reserved_.fetch_sub(bytes_);
  }

 private:
  HostAccounts accounts_;  // empty: nothing is reserved
  int64_t bytes_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_HOST_MEMORY_H_
