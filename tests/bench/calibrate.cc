#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/attention/relative_bias.h"
#include "model/attention/route_costs.h"
#include "model/attention/route_planner.h"
#include "model/base/error.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/cost_fit.h"
#include "tests/bench/floors.h"
#include "tests/bench/suite.h"

namespace longwave {
namespace {

constexpr int64_t kHeads = 2;
// How a method is brought about, and the lengths that its line is drawn through.
struct Calibrated {
  HeadMethod method;
  BiasKind bias;
  bool log_buckets;  // kT5: buckets that reach the sequence's length
  bool power_law;
  int64_t short_tokens;
  int64_t long_tokens;
};
constexpr Calibrated kTiles = {HeadMethod::kTiles, BiasKind::kTable, false, false, 512, 4096};
constexpr Calibrated kBand = {HeadMethod::kBand, BiasKind::kClipped, false, false, 512, 16384};
constexpr Calibrated kBuckets = {HeadMethod::kBuckets, BiasKind::kT5, true, false, 4096, 32768};
constexpr Calibrated kInterpolation = {
    HeadMethod::kInterpolation, BiasKind::kTable, false, true, 4096, 32768};

BenchOptions OptionsFor(const Suite& suite, int64_t n, BiasKind bias) {
  BenchOptions options = suite.options();
  options.tokens = n;
  options.heads = kHeads;
  options.bias = bias;
  options.max_distance = 128;
  options.causal = false;
  return options;
}

// Operations of all heads as the planner counts them.
absl::StatusOr<double> CountedFlops(const Workload& load, HeadMethod method) {
  auto bias = RelativeBias::Create(load.model.config, load.model.weights, 0);
  if (!bias.ok()) return bias.status();
  const ModelConfig& config = load.model.config;
  const ToeplitzWeights weights(*std::move(bias), config.attention.causal, load.options.tokens);
  InterpolationCertificates certificates;
  if (config.attention.interpolation_error > 0) {
    certificates = InterpolationCertificates(weights, config.attention.interpolation_error);
  }
  const LayerFacts facts = {.shape = {.heads = config.num_heads,
                                      .head_dim = config.head_dim,
                                      .features = config.features_per_head()},
                            .weights = weights,
                            .certificates = certificates.asked() ? &certificates : nullptr};
  double flops = 0;
  for (int h = 0; h < config.num_heads; ++h) {
    flops += HeadFlops(facts, method, h, load.options.tokens);
  }
  return flops;
}

// One head of each length, in seconds and operations.
absl::StatusOr<MethodCost> MeasureMethod(Suite& suite, const Calibrated& how) {
  const Route route = RouteOf(how.method);
  suite.Progress(std::string(RouteName(route)));
  CostPoint points[2];
  for (int i = 0; i < 2; ++i) {
    BenchOptions options = OptionsFor(suite, i == 0 ? how.short_tokens : how.long_tokens, how.bias);
    if (how.log_buckets) options.max_distance = options.tokens;
    options.power_law = how.power_law;
    const auto load = MakeWorkload(options);
    if (!load.ok()) return load.status();
    const auto flops = CountedFlops(*load, how.method);
    if (!flops.ok()) return flops.status();
    const auto samples = suite.Measure({suite.Ours(std::string(RouteName(route)), *load, route)});
    if (!samples.ok()) return samples.status();
    points[i] = {*flops / kHeads, (*samples)[0].Median() / kHeads};
  }
  return FitMethodCost(points[0], points[1]);
}

// Row sums of C that differ by e^10: beyond what fp32 transforms are taken for, and far from what
// fp64 ones are not.
absl::Status MakeUneven(Workload& load) {
  WeightTensor& table = load.model.weights.at("attention_bias");
  const int64_t offsets = table.shape[1];
  for (int64_t i = 0; i < static_cast<int64_t>(table.values.size()); ++i) {
    table.values[i] = i % offsets > offsets / 2 ? 5.0f : -5.0f;
  }
  auto attention = CreateAttention(load.model.config, load.model.weights, 0, "cpu");
  if (!attention.ok()) return attention.status();
  load.attention = *std::move(attention);
  return absl::OkStatus();
}

absl::StatusOr<ChannelCost> MeasureChannel(Suite& suite, int64_t n, Precision precision) {
  suite.Progress(absl::StrCat("fft, n ", n));
  auto load = MakeWorkload(OptionsFor(suite, n, BiasKind::kTable));
  if (!load.ok()) return load.status();
  const bool fp64 = precision == Precision::kFp64;
  if (fp64) {
    if (absl::Status status = MakeUneven(*load); !status.ok()) return status;
  }
  const auto samples = suite.Measure({suite.Ours("fft", *load, Route::kFft)});
  if (!samples.ok()) return samples.status();
  const AttentionCounters counters = load->attention->Counters();
  if ((fp64 ? counters.fft_fp32 : counters.fft_fp64) != 0 || counters.fft_tiles != 0) {
    return MakeError(ErrorReason::kInternal, "the guard took another precision than expected");
  }
  const HeadShape head = {load->options.head_dim, load->options.features};
  const double channels = static_cast<double>(head.features * head.columns());
  return ChannelCost{n, 1e9 * (*samples)[0].Median() / (load->TokenHeads() * channels)};
}

absl::StatusOr<std::vector<ChannelCost>> MeasureChannels(Suite& suite, Precision precision) {
  std::vector<ChannelCost> points;
  for (const int64_t n : {1024, 4096, 16384, 65536}) {
    const auto point = MeasureChannel(suite, n, precision);
    if (!point.ok()) return point.status();
    points.push_back(*point);
  }
  return points;
}

}  // namespace

absl::Status RunCalibration(const BenchOptions& given) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  BenchOptions options = given;
  options.threads = 1;  // only ratios matter, and one thread's are the least disturbed
  Suite suite(options);
  DeviceCosts costs = BuiltInRouteCosts().cpu;
  const std::pair<const Calibrated*, MethodCost*> methods[] = {
      {&kTiles, &costs.tiles},
      {&kBand, &costs.band},
      {&kBuckets, &costs.buckets},
      {&kInterpolation, &costs.interpolation}};
  for (const auto& [how, cost] : methods) {
    const auto measured = MeasureMethod(suite, *how);
    if (!measured.ok()) return measured.status();
    *cost = *measured;
  }
  const auto fp32 = MeasureChannels(suite, Precision::kFp32);
  if (!fp32.ok()) return fp32.status();
  const auto fp64 = MeasureChannels(suite, Precision::kFp64);
  if (!fp64.ok()) return fp64.status();
  costs.fft_fp32 = *fp32;
  costs.fft_fp64 = *fp64;
  const std::string text =
      WithCpuCosts(std::string(BuiltInRouteCostsText()), costs,
                   absl::StrCat("longwave-bench calibrate, one thread, ", CpuTargetInUse(), ", d ",
                                options.head_dim, ", m ", options.features));
  // What the planner could not read would end the server.
  if (const auto parsed = ParseRouteCosts(text); !parsed.ok()) return parsed.status();
  std::printf("%s", text.c_str());
  return absl::OkStatus();
}

}  // namespace longwave
