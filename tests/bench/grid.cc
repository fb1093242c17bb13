#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/bench/attention_rows.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/floors.h"

namespace longwave {
namespace {

// Two heads at every length, so that all points may be compared with each other.
constexpr int64_t kHeads = 2;

struct GridBias {
  const char* name;
  BiasKind kind;
  int64_t max_distance;  // 0: the sequence's length
  bool causal;
  bool power_law;
  bool all_routes;  // or the planner's alone
};

constexpr GridBias kBiases[] = {{"t5", BiasKind::kT5, 128, false, false, true},
                                {"none", BiasKind::kNone, 128, false, false, false},
                                {"clipped", BiasKind::kClipped, 128, false, false, false},
                                {"alibi", BiasKind::kAlibi, 128, false, false, false},
                                {"log_buckets", BiasKind::kT5, 0, false, false, false},
                                {"power_law", BiasKind::kTable, 128, false, true, true},
                                {"table", BiasKind::kTable, 128, false, false, true},
                                {"none_causal", BiasKind::kNone, 128, true, false, false},
                                {"clipped_causal", BiasKind::kClipped, 128, true, false, false},
                                {"t5_causal", BiasKind::kT5, 128, true, false, false},
                                {"alibi_causal", BiasKind::kAlibi, 128, true, false, false}};

// What a way of computing reaches of sgemm's rate, for what to leave out: coarse on purpose.
constexpr double kRouteEfficiency = 3.0 / 4;
constexpr double kFftEfficiency = 1.0 / 20;

BenchOptions GridOptions(const Suite& suite, int64_t n, int64_t features, const GridBias& bias) {
  BenchOptions options = suite.options();
  options.tokens = n;
  options.heads = kHeads;
  options.features = features;
  options.bias = bias.kind;
  options.max_distance = bias.max_distance == 0 ? n : bias.max_distance;
  options.causal = bias.causal;
  options.power_law = bias.power_law;
  return options;
}

// A token and head.
double FlopsOf(const BenchOptions& options, Route route) {
  const HeadShape head = {options.head_dim, options.features};
  switch (route) {
    case Route::kTiles:
    case Route::kDirect:
      return TilesFlops(head, options.tokens);
    case Route::kFft:
      return FftFlops(head, options.tokens);
    default:
      // Buckets that reach the whole sequence cost about what a band of 128 does: a floor.
      return ChunkwiseFlops(head, std::min<int64_t>(options.max_distance, 128));
  }
}

class Grid {
 public:
  explicit Grid(Suite& suite) : suite_(suite) {}

  void RunPeers(int64_t n, int64_t features);
  void RunBias(int64_t n, int64_t features, const GridBias& bias);

 private:
  bool Affordable(double flops, double efficiency) const {
    return flops / (suite_.rooflines().sgemm * efficiency) <= suite_.options().max_seconds;
  }
  void Report(const std::string& name, const std::string& bias, const BenchOptions& options,
              const Samples& samples, double flops, double error, bool is_peer);

  Suite& suite_;
};

void Grid::Report(const std::string& name, const std::string& bias, const BenchOptions& options,
                  const Samples& samples, double flops, double error, bool is_peer) {
  const double token_heads = static_cast<double>(options.tokens * options.heads);
  nlohmann::ordered_json object = {
      {"point", name},
      {"bias", bias},
      {"peer", is_peer},
      {"seconds", samples.Median()},
      {"seconds_per_token_head", samples.Median() / token_heads},
      {"floor_seconds", flops * token_heads / suite_.rooflines().sgemm},
      {"error", error},
      {"repeats", samples.repeats.size()},
      {"disagreement", samples.Disagreement()}};
  object.update(ShapeDetails(options));
  suite_.ReportPoint(
      std::move(object),
      absl::StrFormat("%-16s %-14s m %-3d n %-8d %11.3f ms  error %.1e", name, bias,
                      options.features, options.tokens, 1e3 * samples.Median(), error));
}

void Grid::RunPeers(int64_t n, int64_t features) {
  const BenchOptions options = GridOptions(suite_, n, features, kBiases[0]);
  suite_.Progress(absl::StrCat("peers, n ", n, ", m ", features));
  auto load = MakeWorkload(options);
  if (!load.ok()) return suite_.Refuse({"peers"}, load.status());
  load->rows = SampledRows(n, options.seed);
  const double heads = static_cast<double>(n * kHeads);
  const double softmax = SoftmaxFlops(options.head_dim, n);
  const double fft = FftFlops({options.head_dim, features}, n);
  std::string why;
  std::vector<std::pair<std::unique_ptr<Peer>, double>> peers;
  // Softmax does not know of features: once is enough.
  if (features == 64 && Affordable(softmax * heads, kRouteEfficiency)) {
    peers.emplace_back(MakeSdpaPeer(load->Peers()), softmax);
    peers.emplace_back(MakeSdpaBiasPeer(load->Peers(), suite_.options().peer_bytes, &why), softmax);
    peers.emplace_back(MakeUnfusedPeer(load->Peers(), suite_.options().peer_bytes, &why), softmax);
  }
  if (Affordable(fft * heads, kFftEfficiency / 2)) {
    peers.emplace_back(MakeTextbookFftPeer(load->Peers(), suite_.options().peer_bytes, &why), fft);
  }
  for (const auto& [peer, flops] : peers) {
    if (peer == nullptr) continue;
    const auto samples = suite_.Measure({suite_.OfPeer(*peer)});
    if (!samples.ok()) {
      suite_.Refuse({peer->name}, samples.status());
      continue;
    }
    const bool is_fft = peer->name == "textbook_fft";
    const ExpectedRows expected =
        Expected(*load, is_fft ? FeatureKind::kPrf : FeatureKind::kSoftmax, peer->name != "sdpa",
                 suite_.pool());
    const double error = WorstError(at::Tensor(peer->run()), *load, expected);
    Report(peer->name, kBiases[0].name, options, (*samples)[0], flops, error, true);
  }
}

void Grid::RunBias(int64_t n, int64_t features, const GridBias& bias) {
  const BenchOptions options = GridOptions(suite_, n, features, bias);
  suite_.Progress(absl::StrCat(bias.name, ", n ", n, ", m ", features));
  auto load = MakeWorkload(options);
  if (!load.ok()) return suite_.Refuse({bias.name}, load.status());
  load->rows = SampledRows(n, options.seed);
  const Route planned = load->attention->Plan(n);
  std::vector<Route> routes = {planned};
  if (bias.all_routes) {
    for (const Route route : {Route::kChunkwise, Route::kTiles, Route::kFft}) {
      if (route != planned && load->attention->Check(1, route).ok()) routes.push_back(route);
    }
  }
  ExpectedRows expected;
  for (const Route route : routes) {
    const double flops = FlopsOf(options, route);
    const double efficiency = route == Route::kFft ? kFftEfficiency : kRouteEfficiency;
    if (!Affordable(flops * load->TokenHeads(), efficiency)) continue;
    const std::string name(RouteName(route));
    const auto samples = suite_.Measure({suite_.Ours(name, *load, route)});
    if (!samples.ok()) {
      suite_.Refuse({name}, samples.status());
      continue;
    }
    if (expected.empty()) expected = Expected(*load, FeatureKind::kPrf, true, suite_.pool());
    const double error = WorstError(load->out, *load, expected);
    Report(name, bias.name, options, (*samples)[0], flops, error, false);
  }
}

}  // namespace

absl::Status RunAttentionGrid(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  Suite suite(options);
  if (const absl::Status status = suite.MeasureRooflines(); !status.ok()) return status;
  Grid grid(suite);
  for (const int64_t features : {64, 32, 128}) {
    if (options.grid_features != 0 && options.grid_features != features) continue;
    for (int64_t n = 512; n <= int64_t{1} << 20; n *= n < 4096 ? 2 : 4) {
      if (options.peers) grid.RunPeers(n, features);
      for (const GridBias& bias : kBiases) grid.RunBias(n, features, bias);
    }
  }
  return suite.Result();
}

}  // namespace longwave
