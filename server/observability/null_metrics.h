#ifndef LONGWAVE_SERVER_OBSERVABILITY_NULL_METRICS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_NULL_METRICS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/observability/service_metrics.h"

namespace longwave {

// Records nothing and has no endpoint. Derive from it to keep a part of what is recorded: a metric
// that is new to the interface is then ignored by all who have no use for it.
class NullMetrics : public ServiceMetrics {
 public:
  int port() const override { return 0; }
  void SetSampler(std::function<GaugeSample()> sampler) override {}
  void RequestStarted(RpcMethod method) override {}
  void RequestEnded(const RequestRecord& record) override {}
  void Retried(int attempts_before) override {}
  std::optional<InferenceTotals> Totals() const override { return std::nullopt; }
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
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_NULL_METRICS_H_
