#ifndef LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_
#define LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_

#include "server/observability/metric_catalogue.h"

namespace prometheus {
struct MetricFamily;
}

namespace longwave {

// A family of one metric without labels, for collectors that read their values when scraped.
prometheus::MetricFamily GaugeFamily(const catalogue::Metric& metric, double value);
prometheus::MetricFamily CounterFamily(const catalogue::Metric& metric, double value);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_
