#ifndef LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/base/clock.h"
#include "model/base/error.h"
#include "model/base/request_trace.h"

namespace longwave {

// Of longwave.v1, then of the Open Inference Protocol.
enum class RpcMethod {
  kEncode,
  kEncodeStream,
  kEstimateEncode,
  kGetModel,
  kListModels,
  kModelInfer,
  kModelStreamInfer,
  kInferenceQuery,  // metadata, configuration, statistics: together, to stay in the series budget
  kInferenceProbe,  // live and ready
};
inline constexpr int kRpcMethodCount = static_cast<int>(RpcMethod::kInferenceProbe) + 1;
absl::string_view RpcMethodName(RpcMethod method);

// One ended request (of a stream: one tag), as all histograms and counters see it.
struct RequestRecord {
  RpcMethod method = RpcMethod::kEncode;
  absl::StatusCode code = absl::StatusCode::kOk;
  ErrorReason reason = ErrorReason::kInternal;  // read only if code is not OK
  absl::string_view priority = "interactive";   // or "batch"
  bool admitted = false;
  int64_t tokens = 0;            // of all its sequences
  int64_t longest_sequence = 0;  // decides len_class
  StageTimes stages;
  absl::string_view route;  // of the longest sequence; empty if none was computed
};

// So many events, and the seconds that they took together.
struct TotalTime {
  uint64_t count = 0;
  double seconds = 0;
};

// Since the start of the process, over all methods that encode: sums over the histograms, so that
// they say what Prometheus says.
struct InferenceTotals {
  TotalTime success;
  TotalTime failure;
  TotalTime queue;
  TotalTime input;  // received and validated
  TotalTime compute;
  TotalTime output;        // serialised
  uint64_t sequences = 0;  // computed, in so many
  uint64_t batches = 0;
  Instant last_success{};  // Instant{}: none yet
};

// What the port's protection has to tell; arrays in the order of the catalogue's labels.
struct SecuritySample {
  // Seconds since 1970; 0: there is none.
  int64_t certificate_not_after = 0;
  int64_t client_ca_not_after = 0;
  std::array<int64_t, 2> tls_reloads{};
  std::array<int64_t, 2> tenant_reloads{};
  std::array<int64_t, 4> auth_failures{};
  int64_t handshake_failures = 0;
};

// Read at scrape time from the parts that own the truth.
struct GaugeSample {
  int64_t queued_requests = 0;
  int64_t queued_tokens = 0;
  int64_t running_requests = 0;
  int64_t paused_jobs = 0;
  int64_t resident_bytes = 0;
  double expected_wait_seconds = 0;
  double cost_weather_ratio = 0;  // CostModel::Weather, ::HighRatio
  double cost_high_ratio = 0;
  bool ready = false;
  bool draining = false;
  int64_t log_dropped = 0;          // Logger::dropped()
  int64_t connections_refused = 0;  // Listener::refused()
  // Encoder::FftGuard(): heads of fp32, fp64 and tiles, rows computed once more.
  int64_t fft_fp32_heads = 0;
  int64_t fft_fp64_heads = 0;
  int64_t fft_tiles_heads = 0;
  int64_t fft_recomputed_rows = 0;
  SecuritySample security;
};

struct MetricsOptions {
  // Numeric address; port 0: any free one. Loopback unless asked otherwise: whoever can scrape can
  // read model names and load.
  std::string address = "127.0.0.1:9090";

  // Names the flag to change.
  absl::Status Validate() const;
};

// Every metric of the service; metric_catalogue.h owns all names. Labels come from closed sets: a
// value that is not in its set counts under the set's last one, so no caller can create series.
// Thread-safe; recording never blocks on a scrape for longer than one metric is read.
class ServiceMetrics {
 public:
  // Starts the HTTP endpoint /metrics. Its threads inherit the caller's signal mask.
  static absl::StatusOr<std::unique_ptr<ServiceMetrics>> Create(const MetricsOptions& options);
  virtual ~ServiceMetrics() = default;

  virtual int port() const = 0;
  // Called at every scrape. When this returns, the sampler set before is not running and will not
  // be called again: set nullptr before what it reads is destroyed.
  virtual void SetSampler(std::function<GaugeSample()> sampler) = 0;
  virtual void RequestStarted(RpcMethod method) = 0;
  virtual void RequestEnded(const RequestRecord& record) = 0;
  // A call of which the client has made so many attempts before, 1 or more.
  virtual void Retried(int attempts_before) = 0;
  // Unset: nothing is counted.
  virtual std::optional<InferenceTotals> Totals() const = 0;
  virtual void FirstChunk(int64_t longest_sequence, double seconds) = 0;
  virtual void StreamChunk(int64_t bytes) = 0;
  virtual void StreamStalled(double seconds) = 0;
  virtual void Batch(int sequences, int64_t tokens, double fill_ratio) = 0;
  virtual void Slice(double seconds) = 0;
  // Tokens computed for a batch, and rows computed for nobody beside them.
  virtual void Padding(int64_t real_tokens, int64_t padded_tokens) = 0;
  virtual void CostPrediction(double predicted_seconds, double actual_seconds) = 0;
  virtual void CpuFallback(
      absl::string_view reason) = 0;  // "no_driver", "no_device", "init_failed"
  // A result that is not a number outside a request (warm-up, goldens); those of requests are
  // counted by RequestEnded from the reason.
  virtual void NonFinite() = 0;
  // "open", "read", "convert", "certify", "goldens", "warmup".
  virtual void ModelLoad(absl::string_view phase, double seconds) = 0;
  // A version was read: "ok", "unchanged", "refused", "failed".
  virtual void ModelLoaded(absl::string_view result) = 0;
  // Labels of longwave_model_info and longwave_build_info.
  virtual void SetInfo(std::vector<std::pair<std::string, std::string>> model,
                       std::vector<std::pair<std::string, std::string>> build) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_
