#ifndef LONGWAVE_TESTS_UNIT_SERVER_LOAD_METRICS_H_
#define LONGWAVE_TESTS_UNIT_SERVER_LOAD_METRICS_H_

#include <string>
#include <utility>
#include <vector>

#include "tests/unit/rpc/recording_metrics.h"

namespace longwave {

// Keeps the results of loads. Thread-safe.
class LoadMetrics final : public RecordingMetrics {
 public:
  void ModelLoaded(absl::string_view result) override {
    MutexLock lock(&mutex_);
    results_.emplace_back(result);
    changed_.NotifyAll();
  }
  void AwaitResults(size_t count) {
    MutexLock lock(&mutex_);
    while (results_.size() < count) changed_.Wait(&mutex_);
  }
  std::vector<std::string> results() {
    MutexLock lock(&mutex_);
    return results_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::string> results_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_SERVER_LOAD_METRICS_H_
