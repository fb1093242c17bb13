#include "server/serving_metrics.h"

#include <algorithm>
#include <memory>

#include "server/admission/served_model.h"
#include "server/rpc/expected_wait.h"
#include "server/rpc/library_log.h"

namespace longwave {

void MetricsObserver::OnBatch(int sequences, int64_t tokens) {
  // A sequence longer than a batch rides alone and fills it.
  const double fill = static_cast<double>(tokens) / static_cast<double>(max_batch_tokens_);
  metrics_->Batch(sequences, tokens, std::min(fill, 1.0));
  // Ragged: what the encoder pads within its own tiles it does not tell.
  metrics_->Padding(tokens, 0);
}

void MetricsObserver::OnSliceStart() { watch_->Begin(); }

void MetricsObserver::OnSlice(double seconds) {
  watch_->End();
  metrics_->Slice(seconds);
}

void MetricsObserver::OnJobEnd(int64_t tokens, double predicted_seconds, double actual_seconds) {
  metrics_->CostPrediction(predicted_seconds, actual_seconds);
}

GaugeSample SampleGauges(const GaugeSources& sources) {
  GaugeSample sample;
  sample.log_dropped = sources.log.dropped();
  sample.connections_refused = sources.rpc == nullptr ? 0 : sources.rpc->refused_connections();
  sample.ready = sources.ready;
  sample.draining = sources.draining;
  sample.security = sources.security.Sample();
  sample.security.handshake_failures = LibraryLogRedirect::handshake_failures();
  if (sources.scheduler == nullptr) return sample;
  const SchedulerView view = sources.scheduler->View();
  sample.queued_requests = view.queued_sequences;
  sample.queued_tokens = view.queued_tokens;
  sample.running_requests = view.running_sequences;
  sample.paused_jobs = view.paused_jobs;
  sample.resident_bytes = view.resident_bytes;
  // Held: another version may take its place meanwhile.
  const std::shared_ptr<const ServedModel> model = sources.keeper->current();
  sample.cost_weather_ratio = model->cost.Weather();
  sample.cost_high_ratio = model->cost.HighRatio();
  sample.expected_wait_seconds = ExpectedWaitSeconds(view, sample.cost_weather_ratio);
  const FftGuardCounts guard = sources.keeper->FftGuard();
  sample.fft_fp32_heads = guard.fp32_heads;
  sample.fft_fp64_heads = guard.fp64_heads;
  sample.fft_tiles_heads = guard.tiles_heads;
  sample.fft_recomputed_rows = guard.recomputed_rows;
  return sample;
}

void PublishInfo(const EncoderInfo& info,
                 const std::vector<std::pair<std::string, std::string>>& build,
                 ServiceMetrics& metrics) {
  metrics.SetInfo({{"model", info.model},
                   {"version", info.version},
                   {"weights_sha256", info.weights_digest.substr(0, 12)},
                   {"device", info.device},
                   {"compute_dtype", info.compute_dtype}},
                  build);
}

}  // namespace longwave
