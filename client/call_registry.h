#ifndef LONGWAVE_CLIENT_CALL_REGISTRY_H_
#define LONGWAVE_CLIENT_CALL_REGISTRY_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace longwave::client {

// The asynchronous calls of a client, so that it can end them. Thread-safe.
class CallRegistry {
 public:
  // `cancel` must make the call end, and so be removed, soon.
  uint64_t Add(std::function<void()> cancel) {
    std::lock_guard<std::mutex> lock(mutex_);
    calls_.emplace(next_id_, std::move(cancel));
    return next_id_++;
  }
  void Remove(uint64_t id) {
    std::lock_guard<std::mutex> lock(mutex_);
    calls_.erase(id);
    // Under the lock: the waiter may destroy this object as soon as it has the lock.
    if (calls_.empty()) empty_.notify_all();
  }
  // Cancels all and returns when all have been removed.
  void CancelAndWait() {
    std::unique_lock<std::mutex> lock(mutex_);
    std::vector<std::function<void()>> cancels;
    for (const auto& [id, cancel] : calls_) cancels.push_back(cancel);
    lock.unlock();
    for (const auto& cancel : cancels) cancel();
    lock.lock();
    empty_.wait(lock, [this] { return calls_.empty(); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable empty_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::function<void()>> calls_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CALL_REGISTRY_H_
