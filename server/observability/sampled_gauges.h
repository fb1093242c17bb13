#ifndef LONGWAVE_SERVER_OBSERVABILITY_SAMPLED_GAUGES_H_
#define LONGWAVE_SERVER_OBSERVABILITY_SAMPLED_GAUGES_H_

#include <functional>
#include <memory>

#include "model/base/mutex.h"
#include "server/observability/service_metrics.h"

namespace prometheus {
class Collectable;
}

namespace longwave {

// The function that reads the gauges, and the lock that keeps it from being replaced while it runs.
class Sampler {
 public:
  // When this returns, the function set before is not running and will not be called again.
  void Set(std::function<GaugeSample()> sample);
  // All zero without a function.
  GaugeSample Sample() const;

 private:
  mutable Mutex mutex_;
  std::function<GaugeSample()> sample_ ABSL_GUARDED_BY(mutex_);
};

// Turns a sample into metrics at each scrape. `sampler` outlives the collector.
std::shared_ptr<prometheus::Collectable> MakeSampledGauges(const Sampler* sampler);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_SAMPLED_GAUGES_H_
