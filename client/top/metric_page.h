#ifndef LONGWAVE_CLIENT_TOP_METRIC_PAGE_H_
#define LONGWAVE_CLIENT_TOP_METRIC_PAGE_H_

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave::top {

using Labels = std::map<std::string, std::string>;

// One sample of a metrics page.
struct MetricSample {
  Labels labels;
  double value = 0;
};

// Samples under upper edges ("le"), cumulative, the last edge being infinite.
using Buckets = std::map<double, double>;

// A page in Prometheus' text format 0.0.4.
class MetricPage {
 public:
  // INVALID_ARGUMENT names the line that is not of the format. Lines of comment, HELP and TYPE are
  // passed over.
  static absl::StatusOr<MetricPage> Parse(absl::string_view text);

  const std::vector<MetricSample>& samples(const std::string& name) const;
  // Of all samples that have these labels; nullopt if there is none.
  std::optional<double> Sum(const std::string& name, const Labels& labels = {}) const;
  // Of a histogram, summed over all series that have these labels.
  Buckets Histogram(const std::string& name, const Labels& labels = {}) const;

 private:
  std::map<std::string, std::vector<MetricSample>> samples_;
};

}  // namespace longwave::top

#endif  // LONGWAVE_CLIENT_TOP_METRIC_PAGE_H_
