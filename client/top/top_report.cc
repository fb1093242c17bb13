#include "client/top/top_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "client/top/metric_names.h"

namespace longwave::top {
namespace {

// What was counted between two pages.
class Difference {
 public:
  Difference(const MetricPage* before, const MetricPage& now) : before_(before), now_(now) {
    restarted_ = before != nullptr && Restarted();
    if (restarted_) before_ = nullptr;  // all of it has happened since
  }

  bool restarted() const { return restarted_; }

  double Count(const std::string& name, const Labels& labels = {}) const {
    const double old = before_ == nullptr ? 0 : before_->Sum(name, labels).value_or(0);
    return std::max(0.0, now_.Sum(name, labels).value_or(0) - old);
  }

  Buckets Histogram(const std::string& name, const Labels& labels = {}) const {
    Buckets buckets = now_.Histogram(name, labels);
    if (before_ == nullptr) return buckets;
    for (const auto& [edge, count] : before_->Histogram(name, labels)) {
      if (const auto found = buckets.find(edge); found != buckets.end()) found->second -= count;
    }
    return buckets;
  }

  std::optional<double> Mean(const std::string& name) const {
    const double count = Count(name + "_count");
    if (count <= 0) return std::nullopt;
    return Count(name + "_sum") / count;
  }

 private:
  // The time says it; where it does not, a counter that fell does.
  bool Restarted() const {
    return before_->Sum(kProcessStart) != now_.Sum(kProcessStart) ||
           now_.Sum(kRequests).value_or(0) < before_->Sum(kRequests).value_or(0) ||
           now_.Sum(kProcessCpu).value_or(0) < before_->Sum(kProcessCpu).value_or(0);
  }

  const MetricPage* before_;
  const MetricPage& now_;
  bool restarted_ = false;
};

std::string LabelOf(const MetricSample& sample, const char* name) {
  const auto found = sample.labels.find(name);
  return found == sample.labels.end() ? "" : found->second;
}

Quantiles QuantilesOf(const Buckets& buckets) {
  Quantiles quantiles = {
      .p50 = Quantile(buckets, 0.5), .p90 = Quantile(buckets, 0.9), .p99 = Quantile(buckets, 0.99)};
  if (quantiles.p99.has_value() && buckets.size() > 1) {
    const double last = std::prev(buckets.end(), 2)->first;
    const double within = std::prev(buckets.end(), 2)->second;
    quantiles.beyond = *quantiles.p99 == last && within < 0.99 * buckets.rbegin()->second;
  }
  return quantiles;
}

void AddRequests(const Difference& difference, const MetricPage& now, TopReport* report) {
  for (const MetricSample& sample : now.samples(kRequests)) {
    CodeRate rate = {.method = LabelOf(sample, "method"), .code = LabelOf(sample, "code")};
    rate.count = difference.Count(kRequests, sample.labels);
    rate.per_second = rate.count / report->seconds;
    report->requests_per_second += rate.per_second;
    if (rate.count > 0) report->requests.push_back(std::move(rate));
  }
  std::sort(report->requests.begin(), report->requests.end(),
            [](const CodeRate& a, const CodeRate& b) {
              return std::tie(a.method, a.code) < std::tie(b.method, b.code);
            });
}

void AddRefusals(const Difference& difference, const MetricPage& now, TopReport* report) {
  std::map<std::string, double> counts;
  for (const MetricSample& sample : now.samples(kAdmission)) {
    if (LabelOf(sample, "decision") != "shed") continue;
    counts[LabelOf(sample, "reason")] += difference.Count(kAdmission, sample.labels);
  }
  for (const MetricSample& sample : now.samples(kInvalid)) {
    counts[LabelOf(sample, "reason")] += difference.Count(kInvalid, sample.labels);
  }
  for (const auto& [reason, count] : counts) {
    if (count > 0) report->refusals.push_back({reason, count, count / report->seconds});
  }
  // Those that happened as often stay in the order of their names.
  std::sort(report->refusals.begin(), report->refusals.end(),
            [](const ReasonRate& a, const ReasonRate& b) {
              return std::tie(b.count, a.reason) < std::tie(a.count, b.reason);
            });
}

void AddState(const MetricPage& now, TopReport* report) {
  const auto value = [&now](const char* name) { return now.Sum(name).value_or(0); };
  report->ready = value(kReady) > 0;
  report->draining = value(kDraining) > 0;
  report->start_time = now.Sum(kProcessStart);
  report->queue_requests = value(kQueueRequests);
  report->queue_tokens = value(kQueueTokens);
  report->running_requests = value(kRunningRequests);
  report->paused_jobs = value(kPausedJobs);
  report->expected_wait_seconds = value(kExpectedWait);
  report->work_bytes = value(kResidentBytes);
  report->process_bytes = value(kProcessResident);
  report->threads = value(kProcessThreads);
  for (const MetricSample& sample : now.samples(kModelInfo)) {
    if (sample.value <= 0) continue;  // of an earlier version
    report->model = LabelOf(sample, "model");
    report->version = LabelOf(sample, "version");
    report->device = LabelOf(sample, "device");
    report->compute_dtype = LabelOf(sample, "compute_dtype");
  }
}

}  // namespace

bool IsLongwave(const MetricPage& page) {
  return page.Sum(kReady).has_value() && page.Sum(kRequests).has_value();
}

std::optional<double> Quantile(const Buckets& buckets, double share) {
  if (buckets.empty() || buckets.rbegin()->second <= 0) return std::nullopt;
  const double rank = share * buckets.rbegin()->second;
  double edge = 0;
  double below = 0;
  for (const auto& [upper, count] : buckets) {
    if (count >= rank) {
      if (std::isinf(upper)) return edge;
      const double inside = count - below;
      return inside <= 0 ? upper : edge + (upper - edge) * (rank - below) / inside;
    }
    edge = upper;
    below = count;
  }
  return edge;
}

TopReport MakeReport(const MetricPage* before, const MetricPage& now, double seconds) {
  const Difference difference(before, now);
  TopReport report;
  report.seconds = seconds;
  report.since_start = before == nullptr;
  report.restarted = difference.restarted();
  AddRequests(difference, now, &report);
  AddRefusals(difference, now, &report);
  AddState(now, &report);
  const double real = difference.Count(kTokens, {{"kind", "real"}});
  const double padded = difference.Count(kTokens, {{"kind", "padded"}});
  report.tokens_per_second = real / seconds;
  report.padded_share = real + padded > 0 ? padded / (real + padded) : 0;
  report.stream_bytes_per_second = difference.Count(kStreamBytes) / seconds;
  report.cpus = difference.Count(kProcessCpu) / seconds;
  report.total = QuantilesOf(difference.Histogram(kDuration, {{"code", "ok"}}));
  report.queue = QuantilesOf(difference.Histogram(kQueue));
  report.compute = QuantilesOf(difference.Histogram(kCompute));
  report.batch_tokens = difference.Mean(kBatchTokens);
  report.batch_sequences = difference.Mean(kBatchSequences);
  report.batch_fill = difference.Mean(kBatchFill);
  return report;
}

}  // namespace longwave::top
