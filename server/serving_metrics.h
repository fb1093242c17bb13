#ifndef LONGWAVE_SERVER_SERVING_METRICS_H_
#define LONGWAVE_SERVER_SERVING_METRICS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "model/api/encoder.h"
#include "server/model_keeper.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"
#include "server/rpc/rpc_server.h"
#include "server/scheduling/scheduler.h"
#include "server/security/security.h"
#include "server/slice_watch.h"

namespace longwave {

// What the scheduler tells, as metrics, and to the watch over slices. On the scheduler's threads.
class MetricsObserver final : public SchedulerObserver {
 public:
  // `metrics` and `watch` outlive the observer.
  MetricsObserver(ServiceMetrics* metrics, SliceWatch* watch, const SchedulerOptions& options)
      : metrics_(metrics), watch_(watch), max_batch_tokens_(options.max_batch_tokens) {}

  void OnBatch(int sequences, int64_t tokens) override;
  void OnSliceStart() override;
  void OnSlice(double seconds) override;
  void OnJobEnd(int64_t tokens, double predicted_seconds, double actual_seconds) override;

 private:
  ServiceMetrics* const metrics_;
  SliceWatch* const watch_;
  const int64_t max_batch_tokens_;
};

// The parts of a process that own what its gauges show. A process that is starting has not all of
// them yet.
struct GaugeSources {
  const Logger& log;
  const Security& security;
  const RpcServer* rpc = nullptr;  // null: no port yet
  // Null: no model yet, and the gauges of work stay 0. With a scheduler there is a keeper with a
  // model.
  const Scheduler* scheduler = nullptr;
  ModelKeeper* keeper = nullptr;
  bool ready = false;
  bool draining = false;
};

// What a scrape sees now. The sources must not change meanwhile: lock what guards the pointers.
GaugeSample SampleGauges(const GaugeSources& sources);

// Shows which model serves. `build`: EncoderSource::build_info.
void PublishInfo(const EncoderInfo& info,
                 const std::vector<std::pair<std::string, std::string>>& build,
                 ServiceMetrics& metrics);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SERVING_METRICS_H_
