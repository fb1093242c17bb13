#include "client/load/load_report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace longwave::load {
namespace {

using nlohmann::ordered_json;

double Rate(int64_t count, double seconds) { return seconds > 0 ? count / seconds : 0; }

ordered_json Latency(const Histogram& histogram) {
  ordered_json json;
  json["count"] = histogram.count();
  json["mean_ms"] = histogram.mean_seconds() * 1e3;
  json["min_ms"] = histogram.min_seconds() * 1e3;
  json["p50_ms"] = histogram.Percentile(50) * 1e3;
  json["p90_ms"] = histogram.Percentile(90) * 1e3;
  json["p99_ms"] = histogram.Percentile(99) * 1e3;
  json["p999_ms"] = histogram.Percentile(99.9) * 1e3;
  json["max_ms"] = histogram.max_seconds() * 1e3;
  return json;
}

ordered_json Distribution(const Histogram& histogram) {
  ordered_json points = ordered_json::array();
  for (const Histogram::Point& point : histogram.Distribution()) {
    points.push_back({point.percentile, point.seconds * 1e3, point.count});
  }
  return points;
}

ordered_json Figures(const GroupResult& group, double seconds) {
  ordered_json json;
  json["offered"] = group.offered;
  json["offered_per_second"] = Rate(group.offered, seconds);
  json["offered_tokens_per_second"] = Rate(group.offered_tokens, seconds);
  json["good"] = group.good;
  json["goodput_per_second"] = Rate(group.good, seconds);
  json["goodput_tokens_per_second"] = Rate(group.good_tokens, seconds);
  json["late"] = group.late;
  json["wrong"] = group.wrong;
  json["shed"] = group.shed;
  json["expired"] = group.expired;
  json["failed"] = group.failed;
  json["cancelled"] = group.cancelled;
  json["left"] = group.left;
  json["in_flight_at_end"] = group.in_flight_at_end;
  json["latency"] = Latency(group.latency);
  json["shed_latency"] = Latency(group.shed_latency);
  json["endings"] = ordered_json::object();
  for (const auto& [name, alike] : group.endings) json["endings"][name] = Latency(alike.latency);
  json["since_sent"] = Latency(group.since_sent);
  json["server_queue"] = Latency(group.queue);
  json["server_compute"] = Latency(group.compute);
  json["server_total"] = Latency(group.server);
  json["overhead"] = Latency(group.overhead);
  return json;
}

ordered_json Intervals(const std::vector<IntervalResult>& intervals) {
  ordered_json json;
  const auto column = [&](const char* name, int64_t IntervalResult::* field) {
    ordered_json values = ordered_json::array();
    for (const IntervalResult& interval : intervals) values.push_back(interval.*field);
    json[name] = std::move(values);
  };
  column("offered", &IntervalResult::offered);
  column("good", &IntervalResult::good);
  column("good_tokens", &IntervalResult::good_tokens);
  column("shed", &IntervalResult::shed);
  column("expired", &IntervalResult::expired);
  column("failed", &IntervalResult::failed);
  return json;
}

ordered_json GroupJson(const LoadReport& report, size_t index) {
  const GroupLabel& label = report.groups[index];
  ordered_json json;
  json["name"] = label.name;
  json["planned_per_second"] = label.calls_per_second;
  json["tokens"] = label.tokens;
  json["deadline_ms"] = std::isfinite(label.deadline_seconds)
                            ? ordered_json(label.deadline_seconds * 1e3)
                            : ordered_json(nullptr);
  json["priority"] = label.priority;
  json["tenant"] = label.tenant;
  json.update(Figures(report.result.groups[index], report.result.seconds));
  json["distribution_ms"] = Distribution(report.result.groups[index].latency);
  json["intervals"] = Intervals(report.result.intervals[index]);
  return json;
}

ordered_json Head(const LoadReport& report) {
  ordered_json json;
  json["targets"] = report.targets;
  json["model"] = report.model;
  json["device"] = report.device;
  json["models_seen"] = report.result.models;
  json["seed"] = report.seed;
  json["seconds"] = report.result.seconds;
  json["warmup_seconds"] = report.warmup_seconds;
  json["retries"] = report.retries;
  json["valid"] = report.problems.empty();
  json["problems"] = report.problems;
  json["lateness"] = Latency(report.result.lateness);
  json["not_sent"] = report.result.not_sent;
  return json;
}

void AppendLatency(const char* name, const Histogram& histogram, std::string* text) {
  if (histogram.count() == 0) return;
  absl::StrAppendFormat(text, "  %-34s %9d %9.3f %9.3f %9.3f %9.3f %9.3f\n", name,
                        histogram.count(), histogram.Percentile(50) * 1e3,
                        histogram.Percentile(90) * 1e3, histogram.Percentile(99) * 1e3,
                        histogram.Percentile(99.9) * 1e3, histogram.max_seconds() * 1e3);
}

std::string Counts(const GroupResult& group) {
  std::string text = absl::StrFormat("%d offered, %d good", group.offered, group.good);
  const auto count = [&text](const char* name, int64_t calls) {
    if (calls > 0) absl::StrAppend(&text, ", ", calls, " ", name);
  };
  count("late", group.late);
  count("WRONG", group.wrong);
  count("shed", group.shed);
  count("expired", group.expired);
  count("failed", group.failed);
  count("cancelled", group.cancelled);
  count("left over", group.left);
  return text;
}

void AppendFigures(const GroupResult& group, double seconds, std::string* text) {
  absl::StrAppendFormat(text, "  offered %.1f/s (%.0f tokens/s), goodput %.1f/s (%.0f tokens/s)\n",
                        Rate(group.offered, seconds), Rate(group.offered_tokens, seconds),
                        Rate(group.good, seconds), Rate(group.good_tokens, seconds));
  absl::StrAppend(text, "  ", Counts(group), "\n");
  absl::StrAppendFormat(text, "  %-34s %9s %9s %9s %9s %9s %9s\n", "milliseconds since due",
                        "calls", "p50", "p90", "p99", "p99.9", "max");
  AppendLatency("good", group.latency, text);
  for (const auto& [name, alike] : group.endings) {
    if (name != "OK") AppendLatency(name.c_str(), alike.latency, text);
  }
  AppendLatency("server: queue", group.queue, text);
  AppendLatency("server: compute", group.compute, text);
  AppendLatency("since sent, minus compute", group.overhead, text);
}

void AppendDistribution(const Histogram& histogram, std::string* text) {
  if (histogram.count() == 0) return;
  absl::StrAppendFormat(text, "  %12s %14s %12s %14s\n", "value ms", "percentile", "count",
                        "1/(1-share)");
  for (const Histogram::Point& point : histogram.Distribution()) {
    const double rest = 1 - point.percentile / 100;
    absl::StrAppendFormat(text, "  %12.3f %14.9f %12d %14s\n", point.seconds * 1e3,
                          point.percentile / 100, point.count,
                          rest > 0 ? absl::StrFormat("%.2f", 1 / rest) : "inf");
  }
}

std::string GroupTitle(const GroupLabel& label) {
  std::string text =
      absl::StrFormat("%s: %s tokens at %.1f/s", label.name, label.tokens, label.calls_per_second);
  if (std::isfinite(label.deadline_seconds)) {
    absl::StrAppendFormat(&text, ", deadline %g ms", label.deadline_seconds * 1e3);
  }
  if (!label.priority.empty()) absl::StrAppend(&text, ", ", label.priority);
  if (!label.tenant.empty()) absl::StrAppend(&text, ", tenant ", label.tenant);
  return text;
}

}  // namespace

GroupResult Total(const LoadResult& result) {
  GroupResult total;
  for (const GroupResult& group : result.groups) total.Merge(group);
  return total;
}

std::string FormatLoadText(const LoadReport& report, bool distribution) {
  const LoadResult& result = report.result;
  std::string text = absl::StrFormat(
      "%s on %s at %s; seed %d; %.1f s behind %.1f s of warm-up; sent late by p99 %.3f ms, at most "
      "%.3f ms\n",
      report.model, report.device, absl::StrJoin(report.targets, ", "), report.seed, result.seconds,
      report.warmup_seconds, result.lateness.Percentile(99) * 1e3,
      result.lateness.max_seconds() * 1e3);
  for (size_t i = 0; i < result.groups.size(); ++i) {
    absl::StrAppend(&text, "\n", GroupTitle(report.groups[i]), "\n");
    AppendFigures(result.groups[i], result.seconds, &text);
    if (distribution) AppendDistribution(result.groups[i].latency, &text);
  }
  if (result.groups.size() > 1) {
    absl::StrAppend(&text, "\nall groups\n");
    AppendFigures(Total(result), result.seconds, &text);
  }
  return text;
}

std::string FormatLoadJson(const LoadReport& report) {
  ordered_json json = Head(report);
  if (report.problems.empty()) {
    json["interval_seconds"] = report.result.interval_seconds;
    json["groups"] = ordered_json::array();
    for (size_t i = 0; i < report.groups.size(); ++i)
      json["groups"].push_back(GroupJson(report, i));
    json["total"] = Figures(Total(report.result), report.result.seconds);
  }
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace longwave::load
