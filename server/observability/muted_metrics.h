#ifndef LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/observability/service_metrics.h"

namespace longwave {

// The port and the gauges of other metrics, and nothing recorded: to measure what recording costs.
class MutedMetrics final : public ServiceMetrics {
 public:
  explicit MutedMetrics(std::unique_ptr<ServiceMetrics> muted) : muted_(std::move(muted)) {}

  int port() const override { return muted_->port(); }
  void SetSampler(std::function<GaugeSample()> sampler) override {
    muted_->SetSampler(std::move(sampler));
  }
  void RequestStarted(RpcMethod method) override {}
  void RequestEnded(const RequestRecord& record) override {}
  void Retried(int attempts_before) override {}
  void FirstChunk(int64_t longest_sequence, double seconds) override {}
  void StreamChunk(int64_t bytes) override {}
  void StreamStalled(double seconds) override {}
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
  const std::unique_ptr<ServiceMetrics> muted_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_
