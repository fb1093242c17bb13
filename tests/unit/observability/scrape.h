#ifndef LONGWAVE_TESTS_UNIT_OBSERVABILITY_SCRAPE_H_
#define LONGWAVE_TESTS_UNIT_OBSERVABILITY_SCRAPE_H_

#include <map>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// One answer of the metrics endpoint, parsed strictly: any line that is not of the text format ends
// up in `malformed`.
struct Scrape {
  std::string text;
  std::map<std::string, std::string> help;  // by metric name
  std::map<std::string, std::string> type;  // by metric name
  std::map<std::string, double> series;     // by name and labels as they are written
  std::string malformed;

  // The value of a series; fails the test if it is not there.
  double Value(const std::string& name) const;
};

// Asks 127.0.0.1:port for /metrics.
Scrape ScrapeMetrics(int port);
// The metric that a series belongs to: its name without labels and histogram suffix.
std::string MetricOf(const Scrape& scrape, absl::string_view series);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_OBSERVABILITY_SCRAPE_H_
