#ifndef LONGWAVE_TESTS_UNIT_RPC_RECORDING_METRICS_H_
#define LONGWAVE_TESTS_UNIT_RPC_RECORDING_METRICS_H_

#include <string>
#include <utility>
#include <vector>

#include "model/base/mutex.h"
#include "server/observability/service_metrics.h"

namespace longwave {

// Keeps what it is told, so that tests can compare it with what clients saw. Thread-safe.
class RecordingMetrics : public ServiceMetrics {
 public:
  struct Ended {
    RequestRecord record;
    std::string priority;  // the record's own are views
    std::string route;
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

  int port() const override { return 0; }
  void SetSampler(std::function<GaugeSample()> sampler) override {}
  void RequestStarted(RpcMethod method) override {
    MutexLock lock(&mutex_);
    ++started_;
  }
  void RequestEnded(const RequestRecord& record) override {
    MutexLock lock(&mutex_);
    ended_.push_back({record, std::string(record.priority), std::string(record.route)});
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
  void Batch(int sequences, int64_t tokens, double fill_ratio) override {}
  void Slice(double seconds) override {}
  void Padding(int64_t real_tokens, int64_t padded_tokens) override {}
  void CostPrediction(double predicted_seconds, double actual_seconds) override {}
  void CpuFallback(absl::string_view reason) override {}
  void NonFinite() override {}
  void ModelLoad(absl::string_view phase, double seconds) override {}
  void ModelLoaded(absl::string_view result) override {}
  void SetInfo(std::vector<std::pair<std::string, std::string>> model,
               std::vector<std::pair<std::string, std::string>> build) override {}

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
