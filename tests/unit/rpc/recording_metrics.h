#ifndef LONGWAVE_TESTS_UNIT_RPC_RECORDING_METRICS_H_
#define LONGWAVE_TESTS_UNIT_RPC_RECORDING_METRICS_H_

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "model/base/mutex.h"
#include "server/observability/null_metrics.h"

namespace longwave {

// Keeps what it is told, so that tests can compare it with what clients saw. Thread-safe.
class RecordingMetrics : public NullMetrics {
 public:
  struct Ended {
    RequestRecord record;
    std::string priority;  // the record's own are views
    std::string route;
    std::thread::id thread;  // that told
  };

  // Waits until `count` requests have ended, and returns them.
  std::vector<Ended> AwaitEnded(size_t count) {
    MutexLock lock(&mutex_);
    while (ended_.size() < count) changed_.Wait(&mutex_);
    return ended_;
  }
  int64_t started() {
    MutexLock lock(&mutex_);
    return started_;
  }
  int64_t chunks() {
    MutexLock lock(&mutex_);
    return chunks_;
  }
  int64_t first_chunks() {
    MutexLock lock(&mutex_);
    return first_chunks_;
  }
  std::vector<int> retried() {
    MutexLock lock(&mutex_);
    return retried_;
  }
  int64_t stalls() {
    MutexLock lock(&mutex_);
    return stalls_;
  }

  void RequestStarted(RpcMethod method) override {
    MutexLock lock(&mutex_);
    ++started_;
  }
  void RequestEnded(const RequestRecord& record) override {
    MutexLock lock(&mutex_);
    ended_.push_back({record, std::string(record.priority), std::string(record.route),
                      std::this_thread::get_id()});
    changed_.NotifyAll();
  }
  void FirstChunk(int64_t longest_sequence, double seconds) override {
    MutexLock lock(&mutex_);
    ++first_chunks_;
  }
  void StreamChunk(int64_t bytes) override {
    MutexLock lock(&mutex_);
    ++chunks_;
  }
  void StreamStalled(double seconds) override {
    MutexLock lock(&mutex_);
    ++stalls_;
  }
  void Retried(int attempts_before) override {
    MutexLock lock(&mutex_);
    retried_.push_back(attempts_before);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int64_t started_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t first_chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t stalls_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int> retried_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ended> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_RPC_RECORDING_METRICS_H_
