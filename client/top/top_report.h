#ifndef LONGWAVE_CLIENT_TOP_TOP_REPORT_H_
#define LONGWAVE_CLIENT_TOP_TOP_REPORT_H_

#include <optional>
#include <string>
#include <vector>

#include "client/top/metric_page.h"

namespace longwave::top {

// What a server did between two looks at its metrics, and how it stands at the second.
struct CodeRate {
  std::string method;
  std::string code;
  double count = 0;
  double per_second = 0;
};

struct ReasonRate {
  std::string reason;
  double count = 0;
  double per_second = 0;
};

// Seconds. nullopt: nothing was measured. Within a bucket the values are taken to lie evenly;
// beyond the last edge that edge is given, as a bound from below.
struct Quantiles {
  std::optional<double> p50;
  std::optional<double> p90;
  std::optional<double> p99;
  bool beyond = false;  // p99 lies beyond the last edge
};

struct TopReport {
  double seconds = 0;        // between the looks
  bool since_start = false;  // there was one look: counts are those since the server's start
  bool restarted = false;    // the server began anew between the looks; counts are those since then

  std::string model;
  std::string version;
  std::string device;
  std::string compute_dtype;
  bool ready = false;
  bool draining = false;
  std::optional<double> start_time;  // seconds since 1970

  std::vector<CodeRate> requests;    // those that happened, by method and code
  std::vector<ReasonRate> refusals;  // turned away for load or for what they ask, most first
  double requests_per_second = 0;
  double tokens_per_second = 0;
  double padded_share = 0;  // of the tokens computed
  double stream_bytes_per_second = 0;
  Quantiles total;  // of requests that ended OK
  Quantiles queue;
  Quantiles compute;
  std::optional<double> batch_tokens;  // means
  std::optional<double> batch_sequences;
  std::optional<double> batch_fill;

  double queue_requests = 0;
  double queue_tokens = 0;
  double running_requests = 0;
  double paused_jobs = 0;
  double expected_wait_seconds = 0;
  double work_bytes = 0;     // that started work holds
  double process_bytes = 0;  // resident
  double threads = 0;
  double cpus = 0;  // processors kept busy
};

// `before` null: counts since the start, over `seconds`, which is then the server's age.
// Precondition: seconds > 0.
TopReport MakeReport(const MetricPage* before, const MetricPage& now, double seconds);

// Whether the page is one of a Longwave server.
bool IsLongwave(const MetricPage& page);

// The value below which `share` of the samples lie, by linear interpolation.
std::optional<double> Quantile(const Buckets& buckets, double share);

}  // namespace longwave::top

#endif  // LONGWAVE_CLIENT_TOP_TOP_REPORT_H_
