#include "server/observability/instruments.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>
#include <utility>

namespace longwave {
namespace {

using catalogue::Metric;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Labels;
using prometheus::Registry;

Family<Counter>& Counters(Registry& registry, const Metric& metric) {
  return prometheus::BuildCounter().Name(metric.name).Help(metric.help).Register(registry);
}

Family<Gauge>& Gauges(Registry& registry, const Metric& metric) {
  return prometheus::BuildGauge().Name(metric.name).Help(metric.help).Register(registry);
}

Family<Histogram>& Histograms(Registry& registry, const Metric& metric) {
  return prometheus::BuildHistogram().Name(metric.name).Help(metric.help).Register(registry);
}

template <size_t n>
Histogram* AddHistogram(Family<Histogram>& family, const Labels& labels,
                        const std::array<double, n>& edges) {
  return &family.Add(labels, Histogram::BucketBoundaries(edges.begin(), edges.end()));
}

template <size_t n>
Histogram* OneHistogram(Registry& registry, const Metric& metric,
                        const std::array<double, n>& edges) {
  return AddHistogram(Histograms(registry, metric), {}, edges);
}

Counter* OneCounter(Registry& registry, const Metric& metric) {
  return &Counters(registry, metric).Add({});
}

// One child of `family` for each value of the label `name`.
template <typename T, size_t n>
ByLabel<T, n> AddEach(Family<T>& family, const char* name,
                      const std::array<const char*, n>& labels) {
  ByLabel<T, n> children;
  for (size_t i = 0; i < n; ++i) children.values[i] = &family.Add({{name, labels[i]}});
  return children;
}

template <size_t n>
Instruments::ByPriorityAndLength AddByPriorityAndLength(Family<Histogram>& family, Labels labels,
                                                        const std::array<double, n>& edges) {
  Instruments::ByPriorityAndLength children;
  for (size_t p = 0; p < catalogue::kPriorities.size(); ++p) {
    labels["priority"] = catalogue::kPriorities[p];
    for (int c = 0; c < catalogue::kLengthClassCount; ++c) {
      labels["len_class"] = catalogue::kLengthClasses[c];
      children[p][c] = AddHistogram(family, labels, edges);
    }
  }
  return children;
}

}  // namespace

Instruments::Instruments(Registry& registry) {
  CreateRequestCounters(registry);
  CreateRequestHistograms(registry);
  CreateShapes(registry);
  CreateAdmission(registry);
  CreateModel(registry);
}

void Instruments::CreateRequestCounters(Registry& registry) {
  Family<Counter>& started_family = Counters(registry, catalogue::kRequestsStarted);
  Family<Counter>& ended_family = Counters(registry, catalogue::kRequests);
  for (int m = 0; m < kRpcMethodCount; ++m) {
    const std::string method(RpcMethodName(static_cast<RpcMethod>(m)));
    started[m] = &started_family.Add({{"method", method}});
    for (const absl::StatusCode code : catalogue::ServedCodes()) {
      ended[m][code] = &ended_family.Add({{"method", method}, {"code", catalogue::CodeName(code)}});
    }
  }
}

void Instruments::CreateRequestHistograms(Registry& registry) {
  Family<Histogram>& duration = Histograms(registry, catalogue::kRequestDuration);
  duration_ok = AddByPriorityAndLength(duration, {{"code", catalogue::kCodeClasses[0]}},
                                       catalogue::kDurationEdges);
  for (size_t code = 1; code < catalogue::kCodeClasses.size(); ++code) {
    for (size_t p = 0; p < catalogue::kPriorities.size(); ++p) {
      const Labels labels = {{"code", catalogue::kCodeClasses[code]},
                             {"len_class", catalogue::kAnyLength},
                             {"priority", catalogue::kPriorities[p]}};
      duration_failed[code][p] = AddHistogram(duration, labels, catalogue::kDurationEdges);
    }
  }
  queue = AddByPriorityAndLength(Histograms(registry, catalogue::kRequestQueue), {},
                                 catalogue::kPartEdges);
  compute = AddByPriorityAndLength(Histograms(registry, catalogue::kRequestCompute), {},
                                   catalogue::kPartEdges);
  Family<Histogram>& stage = Histograms(registry, catalogue::kStageDuration);
  for (size_t s = 0; s < stages.size(); ++s) {
    stages[s] = AddHistogram(stage, {{"stage", catalogue::kStages[s]}}, catalogue::kStageEdges);
  }
}

void Instruments::CreateShapes(Registry& registry) {
  Family<Histogram>& chunk_family = Histograms(registry, catalogue::kTimeToFirstChunk);
  Family<Histogram>& megatoken_family = Histograms(registry, catalogue::kSecondsPerMegatoken);
  for (int c = 0; c < catalogue::kLengthClassCount; ++c) {
    const char* const len_class = catalogue::kLengthClasses[c];
    first_chunk[c] =
        AddHistogram(chunk_family, {{"len_class", len_class}}, catalogue::kFirstChunkEdges);
    for (size_t route = 0; route < megatoken.size(); ++route) {
      megatoken[route][c] = AddHistogram(
          megatoken_family, {{"len_class", len_class}, {"route", catalogue::kRouteLabels[route]}},
          catalogue::kMegatokenEdges);
    }
  }
  request_tokens = OneHistogram(registry, catalogue::kRequestTokens, catalogue::kTokenEdges);
  batch_tokens = OneHistogram(registry, catalogue::kBatchTokens, catalogue::kTokenEdges);
  batch_sequences = OneHistogram(registry, catalogue::kBatchSequences, catalogue::kSequenceEdges);
  batch_fill = OneHistogram(registry, catalogue::kBatchFill, catalogue::kFillEdges);
  Family<Counter>& tokens = Counters(registry, catalogue::kTokens);
  real_tokens = &tokens.Add({{"kind", "real"}});
  padded_tokens = &tokens.Add({{"kind", "padded"}});
  cost_prediction = OneHistogram(registry, catalogue::kCostPrediction, catalogue::kPredictionEdges);
  slice = OneHistogram(registry, catalogue::kSlice, catalogue::kSliceEdges);
  stream_chunks = OneCounter(registry, catalogue::kStreamChunks);
  stream_bytes = OneCounter(registry, catalogue::kStreamBytes);
  stream_stalled = OneCounter(registry, catalogue::kStreamStalled);
}

void Instruments::CreateAdmission(Registry& registry) {
  Family<Counter>& admission = Counters(registry, catalogue::kAdmission);
  Family<Counter>& invalid_family = Counters(registry, catalogue::kInvalid);
  for (size_t p = 0; p < catalogue::kPriorities.size(); ++p) {
    const char* const priority = catalogue::kPriorities[p];
    accepted[p] =
        &admission.Add({{"decision", "accept"}, {"reason", "NONE"}, {"priority", priority}});
    for (const ErrorReason reason : AllErrorReasons()) {
      if (!catalogue::IsShed(reason)) continue;
      shed[reason][p] = &admission.Add({{"decision", "shed"},
                                        {"reason", std::string(ErrorReasonName(reason))},
                                        {"priority", priority}});
    }
  }
  for (const ErrorReason reason : AllErrorReasons()) {
    if (!catalogue::IsInvalid(reason)) continue;
    invalid[reason] = &invalid_family.Add({{"reason", std::string(ErrorReasonName(reason))}});
  }
  cancelled = OneCounter(registry, catalogue::kCancelled);
  retried = AddEach(Counters(registry, catalogue::kRetried), "attempts", catalogue::kAttemptLabels);
}

void Instruments::CreateModel(Registry& registry) {
  routes = AddEach(Counters(registry, catalogue::kRoutes), "route", catalogue::kRouteLabels);
  device_errors =
      AddEach(Counters(registry, catalogue::kDeviceErrors), "kind", catalogue::kDeviceErrorKinds);
  cpu_fallback =
      AddEach(Counters(registry, catalogue::kCpuFallback), "reason", catalogue::kFallbackReasons);
  model_load = AddEach(Gauges(registry, catalogue::kModelLoad), "phase", catalogue::kLoadPhases);
  model_loads =
      AddEach(Counters(registry, catalogue::kModelLoads), "result", catalogue::kLoadResults);
  model_info = &Gauges(registry, catalogue::kModelInfo);
  build_info = &Gauges(registry, catalogue::kBuildInfo);
}

}  // namespace longwave
