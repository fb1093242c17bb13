#include "server/observability/metric_family.h"

#include <prometheus/metric_family.h>

#include <utility>

namespace longwave {

prometheus::MetricFamily GaugeFamily(const catalogue::Metric& metric, double value) {
  prometheus::ClientMetric client_metric;
  client_metric.gauge.value = value;
  return {metric.name, metric.help, prometheus::MetricType::Gauge, {std::move(client_metric)}};
}

prometheus::MetricFamily CounterFamily(const catalogue::Metric& metric, double value) {
  prometheus::ClientMetric client_metric;
  client_metric.counter.value = value;
  return {metric.name, metric.help, prometheus::MetricType::Counter, {std::move(client_metric)}};
}

prometheus::MetricFamily PresentGauges(const catalogue::Metric& metric, const char* label,
                                       absl::Span<const char* const> label_values,
                                       absl::Span<const int64_t> values) {
  prometheus::MetricFamily family{metric.name, metric.help, prometheus::MetricType::Gauge, {}};
  for (size_t i = 0; i < label_values.size(); ++i) {
    if (values[i] == 0) continue;
    prometheus::ClientMetric client_metric;
    client_metric.label = {{label, label_values[i]}};
    client_metric.gauge.value = static_cast<double>(values[i]);
    family.metric.push_back(std::move(client_metric));
  }
  return family;
}

prometheus::MetricFamily CounterFamily(const catalogue::Metric& metric, const char* label,
                                       absl::Span<const char* const> label_values,
                                       absl::Span<const int64_t> values) {
  prometheus::MetricFamily family{metric.name, metric.help, prometheus::MetricType::Counter, {}};
  for (size_t i = 0; i < label_values.size(); ++i) {
    prometheus::ClientMetric client_metric;
    client_metric.label = {{label, label_values[i]}};
    client_metric.counter.value = static_cast<double>(values[i]);
    family.metric.push_back(std::move(client_metric));
  }
  return family;
}

}  // namespace longwave
