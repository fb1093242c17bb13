#include "client/top/top_text.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace longwave::top {
namespace {

using nlohmann::ordered_json;

std::string Age(double seconds) {
  // Two clocks, and whatever the page said.
  if (!(seconds >= 0 && seconds < 1e12)) return "an unknown time";
  const int64_t minutes = static_cast<int64_t>(seconds) / 60;
  if (minutes >= 48 * 60) return absl::StrCat(minutes / 60 / 24, " days");
  if (minutes >= 60) return absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
  return absl::StrFormat("%d min %02d s", minutes, static_cast<int64_t>(seconds) % 60);
}

std::string Bytes(double bytes) {
  constexpr double kGiB = 1 << 30;
  if (bytes >= kGiB) return absl::StrFormat("%.1f GiB", bytes / kGiB);
  return absl::StrFormat("%.0f MiB", bytes / (1 << 20));
}

std::string QuantileLine(const char* name, const Quantiles& quantiles) {
  return absl::StrFormat("%-10s %10s %10s %10s", name, Duration(quantiles.p50),
                         Duration(quantiles.p90),
                         absl::StrCat(quantiles.beyond ? ">" : "", Duration(quantiles.p99)));
}

std::string Mean(const std::optional<double>& value) {
  return value.has_value() ? Amount(*value) : "-";
}

std::string State(const TopReport& report) {
  if (report.draining) return "draining";
  return report.ready ? "ready" : "not ready";
}

std::string Period(const TopReport& report) {
  if (report.since_start) return "since the server's start";
  if (report.restarted) return "since the server began anew";
  return absl::StrFormat("last %.1f s", report.seconds);
}

ordered_json Number(const std::optional<double>& value) {
  return value.has_value() ? ordered_json(*value) : ordered_json();
}

ordered_json QuantilesJson(const Quantiles& quantiles) {
  return {{"p50", Number(quantiles.p50)},
          {"p90", Number(quantiles.p90)},
          {"p99", Number(quantiles.p99)},
          {"p99_beyond_last_edge", quantiles.beyond}};
}

ordered_json RequestsJson(const TopReport& report) {
  ordered_json json = ordered_json::array();
  for (const CodeRate& rate : report.requests) {
    json.push_back({{"method", rate.method},
                    {"code", rate.code},
                    {"count", rate.count},
                    {"per_second", rate.per_second}});
  }
  return json;
}

ordered_json RefusalsJson(const TopReport& report) {
  ordered_json json = ordered_json::array();
  for (const ReasonRate& rate : report.refusals) {
    json.push_back(
        {{"reason", rate.reason}, {"count", rate.count}, {"per_second", rate.per_second}});
  }
  return json;
}

double ErrorsPerSecond(const TopReport& report) {
  double errors = 0;
  for (const CodeRate& rate : report.requests) {
    if (rate.code != "OK") errors += rate.per_second;
  }
  return errors;
}

}  // namespace

std::string Duration(std::optional<double> seconds) {
  if (!seconds.has_value()) return "-";
  if (*seconds < 0.01) return absl::StrFormat("%.1f ms", *seconds * 1e3);
  if (*seconds < 1) return absl::StrFormat("%.0f ms", *seconds * 1e3);
  if (*seconds < 10) return absl::StrFormat("%.1f s", *seconds);
  return absl::StrFormat("%.0f s", *seconds);
}

std::string Amount(double value) {
  constexpr absl::string_view kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (std::fabs(value) >= 999.5 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  const bool digit = value != std::round(value) && std::fabs(value) < 99.95;
  return digit ? absl::StrFormat("%.1f%s", value, kUnits[unit])
               : absl::StrFormat("%.0f%s", value, kUnits[unit]);
}

std::vector<std::string> ScreenLines(const TopReport& report, const std::string& where,
                                     double now_seconds) {
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat("longwave top  ", where, "  ", State(report),
                               report.start_time.has_value()
                                   ? absl::StrCat(", up ", Age(now_seconds - *report.start_time))
                                   : ""));
  lines.push_back(absl::StrCat("model ", report.model, " ", report.version, " on ", report.device,
                               ", ", report.compute_dtype, "    ", Period(report)));
  lines.push_back("");
  lines.push_back(
      absl::StrFormat("requests/s %10s    tokens/s %10s    padding %3.0f%%    rows %s/s",
                      Amount(report.requests_per_second), Amount(report.tokens_per_second),
                      report.padded_share * 100, Bytes(report.stream_bytes_per_second)));
  lines.push_back(absl::StrFormat(
      "waiting    %10s    tokens   %10s    running %s, paused %s    expected wait %s",
      Amount(report.queue_requests), Amount(report.queue_tokens), Amount(report.running_requests),
      Amount(report.paused_jobs), Duration(report.expected_wait_seconds)));
  lines.push_back(absl::StrFormat(
      "batches    %10s tokens, %s sequences, %s%% full", Mean(report.batch_tokens),
      Mean(report.batch_sequences),
      report.batch_fill.has_value() ? absl::StrFormat("%.0f", *report.batch_fill * 100) : "-"));
  lines.push_back(absl::StrFormat("process    %10s, work %s, %.2f CPUs, %.0f threads",
                                  Bytes(report.process_bytes), Bytes(report.work_bytes),
                                  report.cpus, report.threads));
  lines.push_back("");
  lines.push_back(absl::StrFormat("%-10s %10s %10s %10s", "", "p50", "p90", "p99"));
  lines.push_back(QuantileLine("total", report.total));
  lines.push_back(QuantileLine("queue", report.queue));
  lines.push_back(QuantileLine("compute", report.compute));
  lines.push_back("");
  lines.push_back(absl::StrFormat("%-16s %-20s %10s %12s", "method", "code", "per s", "count"));
  for (const CodeRate& rate : report.requests) {
    lines.push_back(absl::StrFormat("%-16s %-20s %10s %12.0f", rate.method, rate.code,
                                    Amount(rate.per_second), rate.count));
  }
  if (report.refusals.empty()) return lines;
  lines.push_back("");
  lines.push_back(absl::StrFormat("%-37s %10s %12s", "refused because", "per s", "count"));
  for (const ReasonRate& rate : report.refusals) {
    lines.push_back(
        absl::StrFormat("%-37s %10s %12.0f", rate.reason, Amount(rate.per_second), rate.count));
  }
  return lines;
}

std::string LogHeader() {
  return absl::StrFormat("%9s %9s %9s %9s %9s %9s %9s %9s %7s %7s\n", "req/s", "not OK/s", "tok/s",
                         "p50", "p99", "queue p99", "wait", "memory", "waiting", "running");
}

std::string LogLine(const TopReport& report) {
  const auto compact = [](std::optional<double> seconds) {
    std::string text = Duration(seconds);
    text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
    return text;
  };
  return absl::StrFormat(
      "%9s %9s %9s %9s %9s %9s %9s %8.0fM %7s %7s%s\n", Amount(report.requests_per_second),
      Amount(ErrorsPerSecond(report)), Amount(report.tokens_per_second), compact(report.total.p50),
      compact(report.total.p99), compact(report.queue.p99), compact(report.expected_wait_seconds),
      report.process_bytes / (1 << 20), Amount(report.queue_requests),
      Amount(report.running_requests), report.restarted ? "  began anew" : "");
}

std::string JsonLine(const TopReport& report) {
  ordered_json json;
  json["seconds"] = report.seconds;
  json["since_start"] = report.since_start;
  json["restarted"] = report.restarted;
  json["ready"] = report.ready;
  json["draining"] = report.draining;
  json["start_time"] = Number(report.start_time);
  json["model"] = {{"name", report.model},
                   {"version", report.version},
                   {"device", report.device},
                   {"compute_dtype", report.compute_dtype}};
  json["requests_per_second"] = report.requests_per_second;
  json["requests"] = RequestsJson(report);
  json["refusals"] = RefusalsJson(report);
  json["tokens_per_second"] = report.tokens_per_second;
  json["padded_share"] = report.padded_share;
  json["stream_bytes_per_second"] = report.stream_bytes_per_second;
  json["latency_seconds"] = {{"total", QuantilesJson(report.total)},
                             {"queue", QuantilesJson(report.queue)},
                             {"compute", QuantilesJson(report.compute)}};
  json["batch"] = {{"tokens", Number(report.batch_tokens)},
                   {"sequences", Number(report.batch_sequences)},
                   {"fill", Number(report.batch_fill)}};
  json["queue_requests"] = report.queue_requests;
  json["queue_tokens"] = report.queue_tokens;
  json["running_requests"] = report.running_requests;
  json["paused_jobs"] = report.paused_jobs;
  json["expected_wait_seconds"] = report.expected_wait_seconds;
  json["work_bytes"] = report.work_bytes;
  json["process_bytes"] = report.process_bytes;
  json["threads"] = report.threads;
  json["cpus"] = report.cpus;
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace longwave::top
