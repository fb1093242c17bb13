#ifndef LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_
#define LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_

#include <cstdint>

#include "absl/types/span.h"
#include "server/observability/metric_catalogue.h"

namespace prometheus {
struct MetricFamily;
}

namespace longwave {

// A family of one metric without labels, for collectors that read their values when scraped.
prometheus::MetricFamily GaugeFamily(const catalogue::Metric& metric, double value);
prometheus::MetricFamily CounterFamily(const catalogue::Metric& metric, double value);
// One gauge a value of the label, in their order; what is 0 is not there. As many values as label
// values.
prometheus::MetricFamily PresentGauges(const catalogue::Metric& metric, const char* label,
                                       absl::Span<const char* const> label_values,
                                       absl::Span<const int64_t> values);
// One counter a value of the label, in their order. As many values as label values.
prometheus::MetricFamily CounterFamily(const catalogue::Metric& metric, const char* label,
                                       absl::Span<const char* const> label_values,
                                       absl::Span<const int64_t> values);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_OBSERVABILITY_METRIC_FAMILY_H_
