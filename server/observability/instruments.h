#ifndef LONGWAVE_SERVER_OBSERVABILITY_INSTRUMENTS_H_
#define LONGWAVE_SERVER_OBSERVABILITY_INSTRUMENTS_H_

#include <array>
#include <cstddef>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/base/error.h"
#include "server/observability/metric_catalogue.h"
#include "server/observability/service_metrics.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
template <typename T>
class Family;
}  // namespace prometheus

namespace longwave {

// One value per label of a closed set; a label outside it means its last one.
template <typename T, size_t n>
struct ByLabel {
  std::array<T*, n> values{};

  T& At(const std::array<const char*, n>& labels, absl::string_view label) const {
    for (size_t i = 0; i + 1 < n; ++i) {
      if (label == labels[i]) return *values[i];
    }
    return *values[n - 1];
  }
};

// Every metric object of the service, looked up once. The registry owns them.
struct Instruments {
  using Counter = prometheus::Counter;
  using Gauge = prometheus::Gauge;
  using Histogram = prometheus::Histogram;
  template <typename T>
  using ByLength = std::array<T*, catalogue::kLengthClassCount>;
  template <typename T>
  using ByPriority = ByLabel<T, catalogue::kPriorities.size()>;
  using ByPriorityAndLength = std::array<ByLength<Histogram>, catalogue::kPriorities.size()>;

  // Creates all of them at zero.
  explicit Instruments(prometheus::Registry& registry);

  std::array<Counter*, kRpcMethodCount> started;
  std::array<std::map<absl::StatusCode, Counter*>, kRpcMethodCount> ended;
  ByPriorityAndLength duration_ok;
  std::array<std::array<Histogram*, catalogue::kPriorities.size()>, catalogue::kCodeClasses.size()>
      duration_failed{};  // the row of kOk is null
  ByPriorityAndLength queue;
  ByPriorityAndLength compute;
  std::array<Histogram*, catalogue::kStages.size()> stages;
  ByLength<Histogram> first_chunk;
  std::array<ByLength<Histogram>, catalogue::kRouteLabels.size() - 1> megatoken;  // by route
  Histogram* request_tokens;
  Histogram* batch_tokens;
  Histogram* batch_sequences;
  Histogram* batch_fill;
  Counter* real_tokens;
  Counter* padded_tokens;
  std::array<Counter*, catalogue::kPriorities.size()> accepted;
  std::map<ErrorReason, std::array<Counter*, catalogue::kPriorities.size()>> shed;
  std::map<ErrorReason, Counter*> invalid;
  Counter* cancelled;
  ByLabel<Counter, catalogue::kAttemptLabels.size()> retried;
  ByLabel<Counter, catalogue::kRouteLabels.size()> routes;
  ByLabel<Counter, catalogue::kDeviceErrorKinds.size()> device_errors;
  ByLabel<Counter, catalogue::kFallbackReasons.size()> cpu_fallback;
  Histogram* cost_prediction;
  Histogram* slice;
  Counter* stream_chunks;
  Counter* stream_bytes;
  Counter* stream_stalled;
  ByLabel<Gauge, catalogue::kLoadPhases.size()> model_load;
  ByLabel<Counter, catalogue::kLoadResults.size()> model_loads;
  prometheus::Family<Gauge>* model_info;
  prometheus::Family<Gauge>* build_info;

 private:
  void CreateRequestCounters(prometheus::Registry& registry);
  void CreateRequestHistograms(prometheus::Registry& registry);
  void CreateShapes(prometheus::Registry& registry);
  void CreateAdmission(prometheus::Registry& registry);
  void CreateModel(prometheus::Registry& registry);
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_INSTRUMENTS_H_
