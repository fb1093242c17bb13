#include "tests/bench/suite.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/base/error.h"
#include "model/encoder/transformer_encoder.h"

namespace longwave {
namespace {

MeasureOptions MeasureOptionsOf(const BenchOptions& options) {
  MeasureOptions measure;
  measure.repeats = options.repeat;
  measure.limit = options.limit;
  measure.retries = options.retries;
  return measure;
}

}  // namespace

Suite::Suite(const BenchOptions& options)
    : options_(options), pool_(options.threads, PrepareComputeThread) {}

int64_t Suite::Tokens(int64_t n) const {
  return options_.suite == BenchSuite::kTiny ? std::max<int64_t>(128, n / 64) : n;
}

int64_t Suite::Heads(int64_t heads) const {
  return options_.suite == BenchSuite::kTiny ? std::min<int64_t>(heads, 2) : heads;
}

bool Suite::Wants(absl::Span<const absl::string_view> bars) const {
  if (options_.only.empty()) return true;
  return std::any_of(bars.begin(), bars.end(), [&](absl::string_view bar) {
    return std::find(options_.only.begin(), options_.only.end(), bar) != options_.only.end();
  });
}

absl::Status Suite::MeasureRooflines() {
  Progress("rooflines");
  auto lines = longwave::MeasureRooflines(options_.threads, MeasureOptionsOf(options_), clock_);
  if (!lines.ok()) return lines.status();
  rooflines_ = *std::move(lines);
  nlohmann::ordered_json object = {{"rooflines",
                                    {{"sgemm_gflops", rooflines_.sgemm / 1e9},
                                     {"sgemm_best_gflops", rooflines_.sgemm_best / 1e9},
                                     {"sgemm_best_library", rooflines_.sgemm_best_library},
                                     {"copy_gb_per_second", rooflines_.copy / 1e9},
                                     {"exp_per_second", rooflines_.exp}}},
                                   {"device", "cpu"},
                                   {"target", CpuTargetInUse()},
                                   {"threads", options_.threads}};
  ReportPoint(std::move(object),
              absl::StrFormat("sgemm %.0f GFLOP/s (best: %.0f, %s), copy %.1f GB/s, exp %.2f G/s; "
                              "%s, %d threads",
                              rooflines_.sgemm / 1e9, rooflines_.sgemm_best / 1e9,
                              rooflines_.sgemm_best_library, rooflines_.copy / 1e9,
                              rooflines_.exp / 1e9, CpuTargetInUse(), options_.threads));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Samples>> Suite::Measure(
    const std::vector<Contender>& contenders) const {
  auto samples = longwave::Measure(contenders, MeasureOptionsOf(options_), clock_);
  at::set_num_threads(1);
  return samples;
}

absl::StatusOr<std::vector<Samples>> Suite::MeasureBesideSgemm(
    std::vector<Contender> contenders) const {
  contenders.push_back(SgemmContender(options_.threads));
  contenders.push_back(PackedSgemmContender(options_.threads));
  return Measure(contenders);
}

Contender Suite::Ours(const std::string& name, const Workload& load, Route route) {
  return {name, [this, &load, route] { RunPass(load, route, &pool_); },
          [] { at::set_num_threads(1); }};
}

Contender Suite::OfPeer(const Peer& peer) const {
  const int threads = options_.threads;
  return {peer.name, [run = peer.run] { run(); }, [threads] { at::set_num_threads(threads); }};
}

double Suite::ValueAgainstFloor(absl::Span<const Samples> samples, double flops,
                                nlohmann::ordered_json& details) const {
  const double seconds = samples.front().Median();
  const double sgemm = samples[samples.size() - 2].Median();
  const double best = std::min(sgemm, samples.back().Median());
  details["floor_flops"] = flops;
  details["floor_seconds"] = flops * sgemm / kSgemmFlops;
  details["sgemm_gflops"] = kSgemmFlops / sgemm / 1e9;
  details["sgemm_best_gflops"] = kSgemmFlops / best / 1e9;
  details["value_against_best"] = seconds / (flops * best / kSgemmFlops);
  return seconds / (flops * sgemm / kSgemmFlops);
}

void Suite::Report(BarResult result) {
  // The negation also catches what is not a number.
  if (!(result.error <= result.error_limit)) {
    worst_ = MakeError(ErrorReason::kInternal,
                       absl::StrCat(result.bar->name, ": error ", result.error, ", limit ",
                                    result.error_limit, "; its time is void"));
    std::fprintf(stderr, "longwave-bench: %s\n", std::string(worst_.message()).c_str());
    return;
  }
  ReportPoint(ToJson(result), ToLine(result));
}

void Suite::ReportPoint(nlohmann::ordered_json object, const std::string& line) {
  std::printf("%s\n", options_.json ? object.dump().c_str() : line.c_str());
  std::fflush(stdout);
}

void Suite::Refuse(absl::Span<const absl::string_view> bars, const absl::Status& status) {
  if (worst_.ok()) worst_ = status;
  for (const absl::string_view bar : bars) {
    std::fprintf(stderr, "longwave-bench: no figure for %s: %s\n", std::string(bar).c_str(),
                 std::string(status.message()).c_str());
  }
}

void Suite::Progress(const std::string& text) const {
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "longwave-bench: %s\n", text.c_str());
}

absl::Status Suite::Result() const { return worst_; }

nlohmann::ordered_json ShapeDetails(const BenchOptions& options) {
  return {{"n", options.tokens},          {"heads", options.heads},
          {"head_dim", options.head_dim}, {"features", options.features},
          {"threads", options.threads},   {"device", "cpu"},
          {"target", CpuTargetInUse()}};
}

std::string CpuTargetInUse() { return absl::AsciiStrToLower(at::get_cpu_capability()); }

}  // namespace longwave
