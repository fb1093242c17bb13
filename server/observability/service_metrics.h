#ifndef LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/base/error.h"
#include "model/base/request_trace.h"

namespace longwave {

enum class RpcMethod { kEncode, kEncodeStream, kEstimateEncode, kGetModel, kListModels };
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

// Read at scrape time from the parts that own the truth.
struct GaugeSample {
  int64_t queued_requests = 0;
  int64_t queued_tokens = 0;
  int64_t running_requests = 0;
  int64_t paused_jobs = 0;
  int64_t resident_bytes = 0;
  double expected_wait_seconds = 0;
  bool ready = false;
  bool draining = false;
};

struct MetricsOptions {
  std::string address = "127.0.0.1:9090";  // port 0: any free one
  absl::Status Validate() const;
};

// Every metric of the service: this file and its .cc own all names. Thread-safe.
class ServiceMetrics {
 public:
  // Starts the HTTP endpoint /metrics.
  static absl::StatusOr<std::unique_ptr<ServiceMetrics>> Create(const MetricsOptions& options);
  virtual ~ServiceMetrics() = default;

  virtual int port() const = 0;
  virtual void SetSampler(std::function<GaugeSample()> sampler) = 0;
  virtual void RequestStarted(RpcMethod method) = 0;
  virtual void RequestEnded(const RequestRecord& record) = 0;
  virtual void FirstChunk(int64_t longest_sequence, double seconds) = 0;
  virtual void StreamChunk(int64_t bytes) = 0;
  virtual void StreamStalled(double seconds) = 0;
  virtual void Batch(int sequences, int64_t tokens, double fill_ratio) = 0;
  virtual void Slice(double seconds) = 0;
  virtual void Padding(int64_t real_tokens, int64_t padded_tokens) = 0;
  virtual void CostPrediction(double predicted_seconds, double actual_seconds) = 0;
  virtual void CpuFallback(absl::string_view reason) = 0;
  virtual void NonFinite() = 0;
  virtual void FftGuard(absl::string_view precision) = 0;  // "fp32", "fp64", "tiles"
  virtual void ModelLoad(absl::string_view phase, double seconds) = 0;
  // Labels of longwave_model_info and longwave_build_info.
  virtual void SetInfo(std::vector<std::pair<std::string, std::string>> model,
                       std::vector<std::pair<std::string, std::string>> build) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_SERVICE_METRICS_H_
