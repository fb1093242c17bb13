#include <ATen/ATen.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/attention_rows.h"
#include "tests/bench/floors.h"

namespace longwave {
namespace {

// From here on one run must do.
constexpr int64_t kSingleRunTokens = 65536;
constexpr int64_t kWarmUpTokens = 16384;

void CoreAgainstSdpa(Suite& suite) {
  const absl::string_view bars[] = {"core_vs_sdpa_16k", "core_vs_floor_16k"};
  if (!suite.Wants(bars)) return;
  const auto load = MakeWorkload(CoreOptions(suite, 16384, 12));
  if (!load.ok()) return suite.Refuse(bars, load.status());
  const auto sdpa = MakeSdpaPeer(load->Peers());
  const auto samples =
      suite.MeasureBesideSgemm({suite.Ours("ours", *load, Route::kChunkwise), suite.OfPeer(*sdpa)});
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  const double ours = (*samples)[0].Median();
  BarResult result = ResultOf(suite, bars[0], *load, (*samples)[1].Median() / ours, *samples);
  result.details["route"] = "chunkwise";
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  const double flops =
      ChunkwiseFlops({load->options.head_dim, load->options.features}, load->options.max_distance);
  result.value = suite.ValueAgainstFloor(*samples, flops * load->TokenHeads(), result.details);
  suite.Report(std::move(result));
}

void CoreAgainstMaskAndTextbook(Suite& suite) {
  const absl::string_view bars[] = {"core_vs_sdpa_mask_4k", "core_vs_textbook_fft_4k"};
  if (!suite.Wants(bars)) return;
  const auto load = MakeWorkload(CoreOptions(suite, 4096, 12));
  if (!load.ok()) return suite.Refuse(bars, load.status());
  const int64_t bytes = suite.options().peer_bytes;
  std::string why;
  std::vector<Contender> contenders = {suite.Ours("ours", *load, Route::kChunkwise)};
  std::unique_ptr<Peer> peers[] = {
      MakeSdpaBiasPeer(load->Peers(), bytes, &why), MakeTextbookFftPeer(load->Peers(), bytes, &why),
      MakeSdpaPeer(load->Peers()), MakeUnfusedPeer(load->Peers(), bytes, &why)};
  for (const auto& peer : peers) {
    if (peer == nullptr) return suite.Refuse(bars, absl::ResourceExhaustedError(why));
    contenders.push_back(suite.OfPeer(*peer));
  }
  const auto samples = suite.Measure(contenders);
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  const double ours = (*samples)[0].Median();
  BarResult result = ResultOf(suite, bars[0], *load, (*samples)[1].Median() / ours, *samples);
  result.details["route"] = "chunkwise";
  suite.Report(result);
  result.bar = &FindBar(bars[1]);
  result.value = (*samples)[2].Median() / ours;
  suite.Report(std::move(result));
}

void CoreShort(Suite& suite) {
  const absl::string_view bars[] = {"core_vs_sdpa_1k"};
  if (!suite.Wants(bars)) return;
  const auto load = MakeWorkload(CoreOptions(suite, 1024, 12));
  if (!load.ok()) return suite.Refuse(bars, load.status());
  std::string why;
  const auto sdpa = MakeSdpaPeer(load->Peers());
  const auto unfused = MakeUnfusedPeer(load->Peers(), suite.options().peer_bytes, &why);
  std::vector<Contender> contenders = {suite.Ours("ours", *load, Route::kAuto),
                                       suite.OfPeer(*sdpa)};
  if (unfused != nullptr) contenders.push_back(suite.OfPeer(*unfused));
  const auto samples = suite.Measure(contenders);
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  BarResult result =
      ResultOf(suite, bars[0], *load, (*samples)[1].Median() / (*samples)[0].Median(), *samples);
  result.details["route"] = load->attention->PlanText(load->options.tokens);
  suite.Report(std::move(result));
}

// One length of a series.
struct SeriesPoint {
  Samples samples;
  double seconds_per_token_head = 0;
  double error = 0;
};

SeriesPoint PointOf(Suite& suite, const Workload& load, Samples samples) {
  const double seconds = samples.Median() / load.TokenHeads();
  const ExpectedRows expected = Expected(load, FeatureKind::kPrf, true, suite.pool());
  return {std::move(samples), seconds, WorstError(load.out, load, expected)};
}

void ReportSeries(Suite& suite, absl::string_view bar, const BenchOptions& options,
                  const std::vector<SeriesPoint>& points) {
  BarResult result = {.bar = &FindBar(bar)};
  result.details = ShapeDetails(options);
  result.details.erase("n");
  nlohmann::ordered_json by_length = nlohmann::ordered_json::object();
  double smallest = points[0].seconds_per_token_head, largest = smallest;
  for (const SeriesPoint& point : points) {
    smallest = std::min(smallest, point.seconds_per_token_head);
    largest = std::max(largest, point.seconds_per_token_head);
    result.error = std::max(result.error, point.error);
    result.samples.push_back(point.samples);
    by_length[point.samples.name] = point.seconds_per_token_head;
  }
  result.value = largest / smallest;
  result.reference = "64 rows in double, all rows at 4096";
  result.details["seconds_per_token_head"] = std::move(by_length);
  suite.Report(std::move(result));
}

// The lengths that are short enough to be repeated, beside each other.
absl::StatusOr<std::vector<SeriesPoint>> RepeatedPoints(Suite& suite, int64_t heads) {
  std::vector<std::unique_ptr<Workload>> loads;
  std::vector<Contender> contenders;
  for (const int64_t n : {int64_t{4096}, kWarmUpTokens}) {
    auto load = MakeWorkload(CoreOptions(suite, n, heads));
    if (!load.ok()) return load.status();
    loads.push_back(std::make_unique<Workload>(*std::move(load)));
    contenders.push_back(suite.Ours(absl::StrCat("n_", n), *loads.back(), Route::kAuto));
  }
  auto samples = suite.Measure(contenders);
  if (!samples.ok()) return samples.status();
  std::vector<SeriesPoint> points;
  for (size_t i = 0; i < loads.size(); ++i) {
    points.push_back(PointOf(suite, *loads[i], std::move((*samples)[i])));
  }
  return points;
}

void CoreLinear(Suite& suite) {
  const absl::string_view bars[] = {"core_linear"};
  if (!suite.Wants(bars)) return;
  const auto points = RepeatedPoints(suite, 12);
  if (!points.ok()) return suite.Refuse(bars, points.status());
  ReportSeries(suite, bars[0], CoreOptions(suite, 0, 12), *points);
}

void CoreLinearLong(Suite& suite) {
  const absl::string_view bars[] = {"core_linear_2_heads"};
  if (!suite.Wants(bars)) return;
  auto points = RepeatedPoints(suite, 2);
  if (!points.ok()) return suite.Refuse(bars, points.status());
  const auto warm_up = MakeWorkload(CoreOptions(suite, kWarmUpTokens, 2));
  if (!warm_up.ok()) return suite.Refuse(bars, warm_up.status());
  for (int64_t n = kSingleRunTokens; n <= int64_t{1} << 20; n *= 4) {
    suite.Progress(absl::StrCat("core, n ", n));
    const auto load = MakeWorkload(CoreOptions(suite, n, 2));
    if (!load.ok()) return suite.Refuse(bars, load.status());
    Samples samples = MeasureOnce(
        absl::StrCat("n_", n), [&] { RunPass(*warm_up, Route::kAuto, suite.pool()); },
        [&] { RunPass(*load, Route::kAuto, suite.pool()); }, suite.clock());
    points->push_back(PointOf(suite, *load, std::move(samples)));
  }
  ReportSeries(suite, bars[0], CoreOptions(suite, 0, 2), *points);
}

}  // namespace

BenchOptions CoreOptions(const Suite& suite, int64_t n, int64_t heads) {
  BenchOptions options = suite.options();
  options.tokens = suite.Tokens(n);
  options.heads = suite.Heads(heads);
  options.bias = BiasKind::kT5;
  options.max_distance = 128;
  options.causal = false;
  options.head_dim = 64;
  options.features = 64;
  return options;
}

BarResult ResultOf(Suite& suite, absl::string_view bar, const Workload& load, double value,
                   std::vector<Samples> samples) {
  const ExpectedRows expected = Expected(load, FeatureKind::kPrf, true, suite.pool());
  return {.bar = &FindBar(bar),
          .value = value,
          .samples = std::move(samples),
          .error = WorstError(load.out, load, expected),
          .reference = load.ReferenceText(),
          .details = ShapeDetails(load.options)};
}

void RunCoreRows(Suite& suite) {
  suite.Progress("core against SDPA and the textbook FFT");
  CoreAgainstSdpa(suite);
  CoreAgainstMaskAndTextbook(suite);
  CoreShort(suite);
  suite.Progress("core, seconds a token");
  CoreLinear(suite);
  CoreLinearLong(suite);
}

}  // namespace longwave
