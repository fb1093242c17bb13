#ifndef LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_

#include <functional>
#include <memory>
#include <utility>

#include "server/observability/null_metrics.h"

namespace longwave {

// The port and the gauges of other metrics, and nothing recorded: to measure what recording costs.
class MutedMetrics final : public NullMetrics {
 public:
  explicit MutedMetrics(std::unique_ptr<ServiceMetrics> muted) : muted_(std::move(muted)) {}

  int port() const override { return muted_->port(); }
  void SetSampler(std::function<GaugeSample()> sampler) override {
    muted_->SetSampler(std::move(sampler));
  }

 private:
  const std::unique_ptr<ServiceMetrics> muted_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_MUTED_METRICS_H_
