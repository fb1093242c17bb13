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

}  // namespace longwave
