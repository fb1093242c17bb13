#include "server/observability/sampled_gauges.h"

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <utility>
#include <vector>

#include "server/observability/metric_catalogue.h"
#include "server/observability/metric_family.h"

namespace longwave {
namespace {

class SampledGauges final : public prometheus::Collectable {
 public:
  explicit SampledGauges(const Sampler* sampler) : sampler_(sampler) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const GaugeSample sample = sampler_->Sample();
    return {
        GaugeFamily(catalogue::kQueueRequests, sample.queued_requests),
        GaugeFamily(catalogue::kQueueTokens, sample.queued_tokens),
        GaugeFamily(catalogue::kRunningRequests, sample.running_requests),
        GaugeFamily(catalogue::kPausedJobs, sample.paused_jobs),
        GaugeFamily(catalogue::kResidentBytes, sample.resident_bytes),
        GaugeFamily(catalogue::kExpectedWait, sample.expected_wait_seconds),
        GaugeFamily(catalogue::kCostWeather, sample.cost_weather_ratio),
        GaugeFamily(catalogue::kCostHigh, sample.cost_high_ratio),
        GaugeFamily(catalogue::kReady, sample.ready ? 1 : 0),
        GaugeFamily(catalogue::kDraining, sample.draining ? 1 : 0),
        CounterFamily(catalogue::kLogDropped, sample.log_dropped),
        CounterFamily(catalogue::kConnectionsRefused, sample.connections_refused),
        CounterFamily(catalogue::kFftGuard, "precision", catalogue::kGuardPrecisions,
                      {sample.fft_fp32_heads, sample.fft_fp64_heads, sample.fft_tiles_heads}),
        CounterFamily(catalogue::kFftRows, sample.fft_recomputed_rows),
        PresentGauges(catalogue::kTlsNotAfter, "which", catalogue::kCertificates,
                      {sample.security.certificate_not_after, sample.security.client_ca_not_after}),
        CounterFamily(catalogue::kTlsReloads, "result", catalogue::kReloadResults,
                      sample.security.tls_reloads),
        CounterFamily(catalogue::kTlsHandshakeFailures, sample.security.handshake_failures),
        CounterFamily(catalogue::kTenantReloads, "result", catalogue::kReloadResults,
                      sample.security.tenant_reloads),
        CounterFamily(catalogue::kAuthFailures, "reason", catalogue::kAuthFailureReasons,
                      sample.security.auth_failures),
    };
  }

 private:
  const Sampler* const sampler_;
};

}  // namespace

void Sampler::Set(std::function<GaugeSample()> sample) {
  MutexLock lock(&mutex_);
  sample_ = std::move(sample);
}

GaugeSample Sampler::Sample() const {
  MutexLock lock(&mutex_);
  return sample_ ? sample_() : GaugeSample{};
}

std::shared_ptr<prometheus::Collectable> MakeSampledGauges(const Sampler* sampler) {
  return std::make_shared<SampledGauges>(sampler);
}

}  // namespace longwave
