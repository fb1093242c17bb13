#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/attention_rows.h"
#include "tests/bench/floors.h"
#include "tests/bench/memory_peak.h"

namespace longwave {
namespace {

constexpr int64_t kLongTokens = 65536;
constexpr int64_t kWarmUpTokens = 16384;

void TilesRows(Suite& suite, int64_t features, absl::string_view floor_bar,
               absl::string_view sdpa_bar) {
  const absl::string_view bars[] = {floor_bar, sdpa_bar};
  if (!suite.Wants(bars)) return;
  BenchOptions options = CoreOptions(suite, 1024, 12);
  options.bias = BiasKind::kTable;
  options.features = features;
  const auto load = MakeWorkload(options);
  if (!load.ok()) return suite.Refuse(bars, load.status());
  const auto sdpa = MakeSdpaPeer(load->Peers());
  const auto samples =
      suite.MeasureBesideSgemm({suite.Ours("ours", *load, Route::kTiles), suite.OfPeer(*sdpa)});
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  BarResult result =
      ResultOf(suite, sdpa_bar, *load, (*samples)[1].Median() / (*samples)[0].Median(), *samples);
  result.details["route"] = "tiles";
  BarResult floor = result;
  floor.bar = &FindBar(floor_bar);
  const double flops = TilesFlops({options.head_dim, features}, options.tokens);
  floor.value = suite.ValueAgainstFloor(*samples, flops * load->TokenHeads(), floor.details);
  suite.Report(std::move(floor));
  suite.Report(std::move(result));
}

// A workload of two heads at kLongTokens, and the same at the length that warms up.
struct LongLoad {
  Workload load;
  Workload warm_up;
};

absl::StatusOr<LongLoad> MakeLongLoad(const Suite& suite, BenchOptions options) {
  auto load = MakeWorkload(options);
  if (!load.ok()) return load.status();
  options.tokens = suite.Tokens(kWarmUpTokens);
  auto warm_up = MakeWorkload(options);
  if (!warm_up.ok()) return warm_up.status();
  return LongLoad{*std::move(load), *std::move(warm_up)};
}

Samples RunOnce(Suite& suite, const std::string& name, const LongLoad& load, Route route) {
  suite.Progress(absl::StrCat(name, ", ", std::string(RouteName(route))));
  at::set_num_threads(1);
  return MeasureOnce(
      name, [&] { RunPass(load.warm_up, route, suite.pool()); },
      [&] { RunPass(load.load, route, suite.pool()); }, suite.clock());
}

// What the peer takes and by how much memory grows for it.
struct Weighed {
  Samples samples;
  int64_t peak_bytes = 0;
};

absl::StatusOr<Weighed> WeighedRun(Suite& suite, const std::string& name,
                                   const std::function<void()>& warm_up,
                                   const std::function<void()>& body) {
  suite.Progress(name);
  absl::StatusOr<int64_t> peak = 0;
  Weighed weighed;
  // The system calls around the body take microseconds, the body seconds.
  weighed.samples = MeasureOnce(name, warm_up, [&] { peak = PeakGrowth(body); }, suite.clock());
  if (!peak.ok()) return peak.status();
  weighed.peak_bytes = *peak;
  return weighed;
}

nlohmann::ordered_json MissingDetails(const Suite& suite, absl::string_view note) {
  return {{"note", std::string(note)},
          {"threads", suite.options().threads},
          {"device", "cpu"},
          {"target", CpuTargetInUse()}};
}

}  // namespace

void RunTilesRows(Suite& suite) {
  suite.Progress("tiles");
  TilesRows(suite, 32, "tiles_vs_floor_1k_m32", "tiles_vs_sdpa_1k_m32");
  TilesRows(suite, 64, "tiles_vs_floor_1k_m64", "tiles_vs_sdpa_1k_m64");
}

void RunLogBucketsRow(Suite& suite) {
  const absl::string_view bars[] = {"log_buckets_vs_clipped_64k"};
  if (!suite.Wants(bars)) return;
  BenchOptions options = CoreOptions(suite, kLongTokens, 2);
  options.max_distance = options.tokens;
  const auto log_buckets = MakeLongLoad(suite, options);
  if (!log_buckets.ok()) return suite.Refuse(bars, log_buckets.status());
  options.bias = BiasKind::kClipped;
  options.max_distance = 128;
  const auto clipped = MakeLongLoad(suite, options);
  if (!clipped.ok()) return suite.Refuse(bars, clipped.status());
  Samples ours = RunOnce(suite, "log_buckets", *log_buckets, Route::kAuto);
  Samples base = RunOnce(suite, "clipped", *clipped, Route::kAuto);
  const double value = ours.Median() / base.Median();
  BarResult result = ResultOf(suite, bars[0], log_buckets->load, value, {ours, base});
  result.details["route"] = log_buckets->load.attention->PlanText(options.tokens);
  suite.Report(std::move(result));
}

void RunFftRows(Suite& suite) {
  const absl::string_view bars[] = {"fft_vs_textbook_64k", "fft_memory_vs_textbook_64k"};
  if (!suite.Wants(bars)) return;
  BenchOptions options = CoreOptions(suite, kLongTokens, 2);
  options.bias = BiasKind::kTable;
  const auto load = MakeLongLoad(suite, options);
  if (!load.ok()) return suite.Refuse(bars, load.status());
  std::string why;
  const int64_t bytes = suite.options().peer_bytes;
  const auto peer = MakeTextbookFftPeer(load->load.Peers(), bytes, &why);
  const auto small_peer = MakeTextbookFftPeer(load->warm_up.Peers(), bytes, &why);
  if (peer == nullptr || small_peer == nullptr) {
    return suite.Refuse(bars, absl::ResourceExhaustedError(why));
  }
  at::set_num_threads(1);
  const auto ours = WeighedRun(
      suite, "ours", [&] { RunPass(load->warm_up, Route::kFft, suite.pool()); },
      [&] { RunPass(load->load, Route::kFft, suite.pool()); });
  at::set_num_threads(suite.options().threads);
  const auto textbook =
      WeighedRun(suite, "textbook_fft", [&] { small_peer->run(); }, [&] { peer->run(); });
  at::set_num_threads(1);
  if (!ours.ok()) return suite.Refuse(bars, ours.status());
  if (!textbook.ok()) return suite.Refuse(bars, textbook.status());
  BarResult result =
      ResultOf(suite, bars[0], load->load, textbook->samples.Median() / ours->samples.Median(),
               {ours->samples, textbook->samples});
  result.details["route"] = "fft";
  result.details["peak_bytes"] = ours->peak_bytes;
  result.details["textbook_peak_bytes"] = textbook->peak_bytes;
  result.details["textbook_formula_bytes"] =
      TextbookFftBytes({options.head_dim, options.features}, options.tokens);
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  result.value = static_cast<double>(ours->peak_bytes) / static_cast<double>(textbook->peak_bytes);
  suite.Report(std::move(result));
}

void RunInterpolationRows(Suite& suite) {
  const absl::string_view bars[] = {"interpolation_vs_tiles_64k", "interpolation_certificate"};
  if (!suite.Wants(bars)) return;
  BenchOptions options = CoreOptions(suite, kLongTokens, 2);
  options.bias = BiasKind::kTable;
  options.power_law = true;
  const auto load = MakeLongLoad(suite, options);
  if (!load.ok()) return suite.Refuse(bars, load.status());
  const absl::Status check = load->load.attention->Check(options.tokens, Route::kInterpolation);
  if (!check.ok()) {
    for (const absl::string_view bar : bars) {
      suite.Report({.bar = &FindBar(bar),
                    .value = std::numeric_limits<double>::quiet_NaN(),
                    .details = MissingDetails(suite, std::string(check.message()))});
    }
    return;
  }
  Samples tiles = RunOnce(suite, "tiles", *load, Route::kTiles);
  Samples ours = RunOnce(suite, "ours", *load, Route::kInterpolation);
  const double bound = load->load.attention->ErrorBound(options.tokens, Route::kInterpolation);
  BarResult result =
      ResultOf(suite, bars[0], load->load, tiles.Median() / ours.Median(), {ours, tiles});
  result.details["route"] = "interpolation";
  result.details["certificate"] = bound;
  // |v_j - z_i| is at most twice the largest |v|.
  result.error_limit += 2 * bound;
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  at::set_num_threads(suite.options().threads);
  const ExpectedRows expected = Expected(load->load, FeatureKind::kPrf, true, suite.pool());
  result.value = WorstOverBound(load->load.out, load->load, expected, bound);
  at::set_num_threads(1);
  suite.Report(std::move(result));
}

}  // namespace longwave
