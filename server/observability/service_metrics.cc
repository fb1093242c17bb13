#include "server/observability/service_metrics.h"

#include <arpa/inet.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/observability/instruments.h"
#include "server/observability/metric_catalogue.h"
#include "server/observability/process_collector.h"
#include "server/observability/safe_text.h"
#include "server/observability/sampled_gauges.h"

namespace longwave {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;

// A histogram's sum must never fall and never become NaN: what is not a duration or size is zero.
void Observe(Histogram& histogram, double value) {
  histogram.Observe(std::isfinite(value) ? std::max(value, 0.0) : 0.0);
}

void Add(Counter& counter, double value) {
  if (std::isfinite(value) && value > 0) counter.Increment(value);
}

size_t PriorityIndex(absl::string_view priority) {
  return priority == catalogue::kPriorities[1] ? 1 : 0;
}

bool HasWork(RpcMethod method) {
  switch (method) {
    case RpcMethod::kEncode:
    case RpcMethod::kEncodeStream:
    case RpcMethod::kModelInfer:
    case RpcMethod::kModelStreamInfer:
      return true;
    default:
      return false;
  }
}

// Adds what a histogram has counted.
void AddTo(TotalTime& total, const Histogram& histogram) {
  const auto counted = histogram.Collect().histogram;
  total.count += counted.sample_count;
  total.seconds += counted.sample_sum;
}

template <typename Nested>
void AddAll(TotalTime& total, const Nested& histograms) {
  for (const auto& row : histograms) {
    for (const Histogram* histogram : row) {
      if (histogram != nullptr) AddTo(total, *histogram);
    }
  }
}

// "host:port" as the HTTP server takes it: a numeric IPv4 address or a bracketed IPv6 one.
absl::Status CheckAddress(const std::string& address) {
  const auto problem = [&address](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("--metrics_address: ", what, ": '", SafeText(address), "'"));
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return problem("not of the form <ip>:<port>");
  int port = 0;
  const std::string port_text = address.substr(colon + 1);
  const bool digits =
      std::all_of(port_text.begin(), port_text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits || !absl::SimpleAtoi(port_text, &port) || port > 65535) {
    return problem("port is not a number from 0 to 65535");
  }
  std::string host = address.substr(0, colon);
  unsigned char parsed[sizeof(struct in6_addr)];
  if (inet_pton(AF_INET, host.c_str(), parsed) == 1) return absl::OkStatus();
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (inet_pton(AF_INET6, host.c_str(), parsed) == 1) return absl::OkStatus();
  }
  return problem("host is not a numeric address (127.0.0.1, 0.0.0.0, [::1], ...)");
}

// Two threads: one scrape and one person; further connections wait, eight as open descriptors and
// the rest in the kernel. Connections that say or take nothing are closed after five seconds, so
// that neither thread can be held.
std::vector<std::string> HttpOptions(const std::string& address) {
  return {"listening_ports",   address, "num_threads",      "2", "request_timeout_ms", "5000",
          "enable_keep_alive", "no",    "connection_queue", "8"};
}

class PrometheusMetrics final : public ServiceMetrics {
 public:
  // Throws if the address cannot be bound.
  explicit PrometheusMetrics(const std::string& address)
      : registry_(std::make_shared<prometheus::Registry>()),
        instruments_(*registry_),
        gauges_(MakeSampledGauges(&sampler_)),
        process_(MakeProcessCollector()),
        exposer_(HttpOptions(address)) {
    exposer_.RegisterCollectable(registry_);
    exposer_.RegisterCollectable(gauges_);
    exposer_.RegisterCollectable(process_);
  }

  int port() const override { return exposer_.GetListeningPorts().front(); }

  void SetSampler(std::function<GaugeSample()> sampler) override {
    sampler_.Set(std::move(sampler));
  }

  void RequestStarted(RpcMethod method) override {
    instruments_.started[static_cast<size_t>(method)]->Increment();
  }

  void RequestEnded(const RequestRecord& record) override {
    const auto& by_code = instruments_.ended[static_cast<size_t>(record.method)];
    const auto found = by_code.find(record.code);
    (found != by_code.end() ? found : by_code.find(absl::StatusCode::kUnknown))
        ->second->Increment();
    if (record.code != absl::StatusCode::kOk) CountFailure(record);
    if (!HasWork(record.method)) return;
    const size_t priority = PriorityIndex(record.priority);
    if (record.admitted) instruments_.accepted[priority]->Increment();
    if (record.code == absl::StatusCode::kOk) {
      RecordSuccess(record, priority);
    } else {
      const auto code_class =
          static_cast<size_t>(catalogue::ClassOf(record.reason, record.admitted));
      Observe(*instruments_.duration_failed[code_class][priority], ToSeconds(record.stages.total));
    }
  }

  std::optional<InferenceTotals> Totals() const override {
    InferenceTotals totals;
    AddAll(totals.success, instruments_.duration_ok);
    AddAll(totals.failure, instruments_.duration_failed);
    AddAll(totals.queue, instruments_.queue);
    AddAll(totals.compute, instruments_.compute);
    // In the order of kStages: receive and validate happen to each request, once.
    TotalTime validate;
    AddTo(totals.input, *instruments_.stages[0]);
    AddTo(validate, *instruments_.stages[1]);
    totals.input.seconds += validate.seconds;
    AddTo(totals.output, *instruments_.stages[4]);
    TotalTime batches;  // of sequences rather than seconds
    AddTo(batches, *instruments_.batch_sequences);
    totals.batches = batches.count;
    totals.sequences = static_cast<uint64_t>(batches.seconds);
    totals.last_success = last_success_.load();
    return totals;
  }

  void FirstChunk(int64_t longest_sequence, double seconds) override {
    Observe(*instruments_.first_chunk[catalogue::LengthClass(longest_sequence)], seconds);
  }

  void StreamChunk(int64_t bytes) override {
    instruments_.stream_chunks->Increment();
    Add(*instruments_.stream_bytes, static_cast<double>(bytes));
  }

  void StreamStalled(double seconds) override { Add(*instruments_.stream_stalled, seconds); }

  void Batch(int sequences, int64_t tokens, double fill_ratio) override {
    Observe(*instruments_.batch_sequences, sequences);
    Observe(*instruments_.batch_tokens, static_cast<double>(tokens));
    Observe(*instruments_.batch_fill, fill_ratio);
  }

  void Slice(double seconds) override { Observe(*instruments_.slice, seconds); }

  void Padding(int64_t real_tokens, int64_t padded_tokens) override {
    Add(*instruments_.real_tokens, static_cast<double>(real_tokens));
    Add(*instruments_.padded_tokens, static_cast<double>(padded_tokens));
  }

  void CostPrediction(double predicted_seconds, double actual_seconds) override {
    if (!(predicted_seconds > 0)) return;
    Observe(*instruments_.cost_prediction, actual_seconds / predicted_seconds);
  }

  void CpuFallback(absl::string_view reason) override {
    instruments_.cpu_fallback.At(catalogue::kFallbackReasons, reason).Increment();
  }

  void Retried(int attempts_before) override {
    const int label = std::clamp<int>(attempts_before, 1, catalogue::kAttemptLabels.size()) - 1;
    instruments_.retried.At(catalogue::kAttemptLabels, catalogue::kAttemptLabels[label])
        .Increment();
  }

  void NonFinite() override {
    instruments_.device_errors.At(catalogue::kDeviceErrorKinds, "nonfinite").Increment();
  }

  void ModelLoad(absl::string_view phase, double seconds) override {
    instruments_.model_load.At(catalogue::kLoadPhases, phase).Set(std::max(seconds, 0.0));
  }

  void ModelLoaded(absl::string_view result) override {
    instruments_.model_loads.At(catalogue::kLoadResults, result).Increment();
  }

  void SetInfo(std::vector<std::pair<std::string, std::string>> model,
               std::vector<std::pair<std::string, std::string>> build) override {
    MutexLock lock(&info_mutex_);
    Replace(*instruments_.model_info, model, &model_info_);
    Replace(*instruments_.build_info, build, &build_info_);
  }

 private:
  using Pairs = std::vector<std::pair<std::string, std::string>>;

  void CountFailure(const RequestRecord& record) {
    if (record.reason == ErrorReason::kCancelled) instruments_.cancelled->Increment();
    const auto invalid = instruments_.invalid.find(record.reason);
    if (invalid != instruments_.invalid.end()) invalid->second->Increment();
    const auto shed = instruments_.shed.find(record.reason);
    if (shed != instruments_.shed.end() && !record.admitted && HasWork(record.method)) {
      shed->second[PriorityIndex(record.priority)]->Increment();
    }
    const absl::string_view kind = DeviceErrorKind(record.reason);
    if (!kind.empty()) {
      instruments_.device_errors.At(catalogue::kDeviceErrorKinds, kind).Increment();
    }
  }

  static absl::string_view DeviceErrorKind(ErrorReason reason) {
    switch (reason) {
      case ErrorReason::kOutOfMemory:
        return "oom";
      case ErrorReason::kDeviceLost:
        return "lost";
      case ErrorReason::kNonFinite:
        return "nonfinite";
      case ErrorReason::kDegenerateDenominator:
        return "degenerate";
      default:
        return "";
    }
  }

  void RecordSuccess(const RequestRecord& record, size_t priority) {
    last_success_ = SteadyClock().Now();
    const StageTimes& times = record.stages;
    const int length = catalogue::LengthClass(record.longest_sequence);
    Observe(*instruments_.duration_ok[priority][length], ToSeconds(times.total));
    Observe(*instruments_.queue[priority][length], ToSeconds(times.queue));
    Observe(*instruments_.compute[priority][length], ToSeconds(times.compute));
    // In the order of kStages.
    const std::array parts = {times.receive, times.validate,  times.queue,
                              times.compute, times.serialise, times.other};
    for (size_t s = 0; s < parts.size(); ++s) Observe(*instruments_.stages[s], ToSeconds(parts[s]));
    Observe(*instruments_.request_tokens, static_cast<double>(record.tokens));
    instruments_.routes.At(catalogue::kRouteLabels, record.route).Increment();
    for (size_t route = 0; route < instruments_.megatoken.size(); ++route) {
      if (record.route != catalogue::kRouteLabels[route] || record.tokens <= 0) continue;
      Observe(*instruments_.megatoken[route][length],
              ToSeconds(times.compute) * 1e6 / static_cast<double>(record.tokens));
    }
  }

  static void Replace(prometheus::Family<Gauge>& family, const Pairs& labels, Gauge** current) {
    prometheus::Labels map;
    for (const auto& [name, value] : labels) map[name] = SafeText(value);
    if (*current != nullptr) family.Remove(*current);
    *current = &family.Add(map);
    (*current)->Set(1);
  }

  const std::shared_ptr<prometheus::Registry> registry_;
  Instruments instruments_;
  Sampler sampler_;
  std::atomic<Instant> last_success_{Instant{}};
  const std::shared_ptr<prometheus::Collectable> gauges_;
  const std::shared_ptr<prometheus::Collectable> process_;
  Mutex info_mutex_;
  Gauge* model_info_ ABSL_GUARDED_BY(info_mutex_) = nullptr;
  Gauge* build_info_ ABSL_GUARDED_BY(info_mutex_) = nullptr;
  // Last: its threads read everything above.
  prometheus::Exposer exposer_;
};

}  // namespace

absl::string_view RpcMethodName(RpcMethod method) {
  constexpr std::array<absl::string_view, kRpcMethodCount> kNames = {
      "Encode",     "EncodeStream",     "EstimateEncode", "GetModel",      "ListModels",
      "ModelInfer", "ModelStreamInfer", "InferenceQuery", "InferenceProbe"};
  return kNames[static_cast<size_t>(method)];
}

absl::Status MetricsOptions::Validate() const { return CheckAddress(address); }

absl::StatusOr<std::unique_ptr<ServiceMetrics>> ServiceMetrics::Create(
    const MetricsOptions& options) {
  if (absl::Status valid = options.Validate(); !valid.ok()) return valid;
  try {
    return std::make_unique<PrometheusMetrics>(options.address);
  } catch (const std::exception&) {
    // The library says only that it has no context; the port is the one thing that can be wrong.
    return absl::UnavailableError(
        absl::StrCat("--metrics_address: cannot listen on ", options.address));
  }
}

}  // namespace longwave
