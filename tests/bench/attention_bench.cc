#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <set>

#include "absl/strings/str_cat.h"
#include "model/attention/attention.h"
#include "model/base/compute_pool.h"
#include "model/base/error.h"
#include "model/encoder/transformer_encoder.h"
#include "model/reference/attention.h"
#include "model/reference/bias.h"
#include "tests/bench/attention_peers.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/random_model.h"

namespace longwave {
namespace {

// Up to here every row is compared with the dense double result; above, 64 rows.
constexpr int64_t kDenseReferenceTokens = 4096;
constexpr int kSampledRows = 64;
// No route or peer that would take much longer than a minute on a few cores is run unasked.
constexpr int64_t kQuadraticTokens = 16384;
constexpr int64_t kDirectTokens = 2048;
constexpr int64_t kFftTokens = 65536;
// What a peer may allocate: half of a small machine.
constexpr int64_t kPeerBytes = int64_t{8} << 30;
// Relative error above which a time is void: 1e-5 (issue's fp32 bound) times the slack that the sum
// over n rounding errors may take at a million tokens.
constexpr double kLargestError = 1e-4;

struct Workload {
  ModelFolder model;
  at::Tensor q, k, v;
  std::vector<std::vector<double>> bias;  // per head, offsets -(n-1) .. n-1
  std::vector<int64_t> rows;              // rows that are compared
};

at::Tensor RandomRows(const BenchOptions& options, uint64_t seed) {
  const std::vector<float> values =
      RandomNormal(options.tokens * options.heads * options.head_dim, seed);
  return at::tensor(at::ArrayRef<float>(values), at::kFloat)
      .reshape({options.tokens, options.heads, options.head_dim});
}

// First and last rows, the edges of 128-row blocks near the middle, and seeded others.
std::vector<int64_t> ComparedRows(int64_t n, uint64_t seed) {
  std::set<int64_t> rows;
  if (n <= kDenseReferenceTokens) {
    for (int64_t row = 0; row < n; ++row) rows.insert(row);
  } else {
    const int64_t edge = n / 2 / 128 * 128;
    rows = {0, 1, 127, 128, edge - 1, edge, edge + 127, n - 2, n - 1};
    std::mt19937_64 generator(seed);
    while (rows.size() < kSampledRows) rows.insert(static_cast<int64_t>(generator() % n));
  }
  return {rows.begin(), rows.end()};
}

Workload MakeWorkload(const BenchOptions& options) {
  Workload load;
  load.model = RandomModel(options, FeatureKind::kPrf);
  load.q = RandomRows(options, options.seed + 1001);
  load.k = RandomRows(options, options.seed + 1002);
  load.v = RandomRows(options, options.seed + 1003);
  const int64_t n = options.tokens;
  for (int64_t h = 0; h < options.heads; ++h) {
    std::vector<double> row(2 * n - 1);
    for (int64_t o = -(n - 1); o <= n - 1; ++o) {
      row[o + n - 1] = options.causal && o > 0
                           ? -std::numeric_limits<double>::infinity()
                           : ReferenceBias(load.model.config, load.model.weights, 0, h, o);
    }
    load.bias.push_back(std::move(row));
  }
  load.rows = ComparedRows(n, options.seed);
  return load;
}

std::vector<double> HeadValues(const at::Tensor& x, int64_t head) {
  const at::Tensor values = x.select(1, head).to(at::kDouble).contiguous();
  return {values.data_ptr<double>(), values.data_ptr<double>() + values.numel()};
}

// The compared rows in double, [head][row, d].
std::vector<std::vector<double>> Expected(const BenchOptions& options, const Workload& load,
                                          FeatureKind features, ComputePool* pool) {
  AttentionConfig config = load.model.config.attention;
  config.features = features;
  const int64_t rows = static_cast<int64_t>(load.rows.size());
  const int64_t d = options.head_dim;
  const std::vector<float>& stored = load.model.weights.at("layers.0.attention.projection").values;
  std::vector<std::vector<double>> expected(options.heads);
  for (int64_t h = 0; h < options.heads; ++h) {
    const std::vector<double> q = HeadValues(load.q, h), k = HeadValues(load.k, h),
                              v = HeadValues(load.v, h);
    const int64_t size = options.features * d;
    const std::vector<double> projection(stored.begin() + h * size,
                                         stored.begin() + (h + 1) * size);
    const ReferenceHead head{
        options.tokens,
        d,
        q,
        k,
        v,
        features == FeatureKind::kSoftmax ? absl::Span<const double>() : projection};
    const auto bias = [&](int64_t offset) { return load.bias[h][offset + options.tokens - 1]; };
    expected[h].resize(rows * d);
    // One piece a thread, since every call forms the features of all keys.
    const int64_t height = (rows + pool->threads() - 1) / pool->threads();
    pool->ParallelFor((rows + height - 1) / height, [&](int64_t piece, int) {
      const int64_t begin = piece * height;
      const absl::Span<const int64_t> part_rows =
          absl::MakeConstSpan(load.rows).subspan(begin, std::min(height, rows - begin));
      const ReferenceRows part = ReferenceAttention(head, config, bias, part_rows);
      std::copy(part.values.begin(), part.values.end(), expected[h].begin() + begin * d);
    });
  }
  return expected;
}

double WorstError(const at::Tensor& output, const Workload& load,
                  const std::vector<std::vector<double>>& expected) {
  double worst = 0;
  for (size_t h = 0; h < expected.size(); ++h) {
    const std::vector<double> actual = HeadValues(output, static_cast<int64_t>(h));
    const size_t d = actual.size() / static_cast<size_t>(output.size(0));
    for (size_t r = 0; r < load.rows.size(); ++r) {
      for (size_t s = 0; s < d; ++s) {
        const double difference =
            std::abs(actual[static_cast<size_t>(load.rows[r]) * d + s] - expected[h][r * d + s]);
        if (std::isnan(difference)) return difference;  // a maximum would lose it
        worst = std::max(worst, difference);
      }
    }
  }
  return worst / load.v.abs().max().item<double>();
}

void RunPass(const Attention& attention, Route route, const Workload& load, at::Tensor& out,
             ComputePool* pool) {
  const std::unique_ptr<AttentionPass> pass = attention.Begin(route, load.q, load.k, load.v, out);
  for (int phase = 0; phase < pass->phases(); ++phase) {
    pool->ParallelFor(pass->Pieces(phase), [&](int64_t piece, int) { pass->Run(phase, piece); });
  }
}

bool Affordable(Route route, int64_t n) {
  switch (route) {
    case Route::kDirect:
      return n <= kDirectTokens;
    case Route::kTiles:
      return n <= kQuadraticTokens;
    case Route::kFft:
      return n <= kFftTokens;
    default:
      return true;
  }
}

std::vector<Route> RoutesToRun(const BenchOptions& options, const Attention& attention) {
  if (!options.routes.empty()) return options.routes;
  std::vector<Route> routes;
  for (const Route route :
       {Route::kChunkwise, Route::kTiles, Route::kFft, Route::kDirect, Route::kInterpolation}) {
    if (Affordable(route, options.tokens) && attention.Check(options.tokens, route).ok()) {
      routes.push_back(route);
    }
  }
  return routes;
}

struct MeasuredPeer {
  std::string name, note;
  double seconds = 0, error = 0;
};

std::vector<MeasuredPeer> MeasurePeers(const BenchOptions& options, const Workload& load,
                                       const std::vector<std::vector<double>>& expected,
                                       ComputePool* pool) {
  PeerInput input{load.q,    load.k,
                  load.v,    load.model.weights.at("layers.0.attention.projection").values,
                  load.bias, options.features};
  std::vector<MeasuredPeer> measured(2);
  measured[0].name = "sdpa_bias";
  measured[1].name = "textbook_fft";
  std::unique_ptr<Peer> peers[2];
  peers[0] = MakeSdpaPeer(input, kPeerBytes, &measured[0].note);
  peers[1] = MakeTextbookFftPeer(input, kPeerBytes, &measured[1].note);
  // Peers get LibTorch's own threads, as many as our pool has.
  at::set_num_threads(options.threads);
  for (int i = 0; i < 2; ++i) {
    if (peers[i] == nullptr) continue;
    at::Tensor output;
    measured[i].seconds =
        MedianSeconds(options.repeat, [&] { output = at::Tensor(peers[i]->run()); });
    const bool softmax = i == 0;
    measured[i].error = WorstError(
        output, load, softmax ? Expected(options, load, FeatureKind::kSoftmax, pool) : expected);
  }
  at::set_num_threads(1);
  return measured;
}

}  // namespace

absl::Status RunAttentionBench(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  ComputePool pool(options.threads, PrepareComputeThread);
  const Workload load = MakeWorkload(options);
  const auto attention = CreateAttention(load.model.config, load.model.weights, 0, "cpu");
  if (!attention.ok()) return attention.status();
  const auto expected = Expected(options, load, FeatureKind::kPrf, &pool);
  std::vector<MeasuredPeer> peers;
  if (options.peers) peers = MeasurePeers(options, load, expected, &pool);
  for (const Route route : RoutesToRun(options, **attention)) {
    if (const absl::Status check = (*attention)->Check(options.tokens, route); !check.ok()) {
      return check;
    }
    at::Tensor out = at::empty_like(load.q);
    AttentionResult result;
    result.route = route;
    result.seconds =
        MedianSeconds(options.repeat, [&] { RunPass(**attention, route, load, out, &pool); });
    result.relative_error = WorstError(out, load, expected);
    result.reference = static_cast<int64_t>(load.rows.size()) == options.tokens
                           ? "dense double"
                           : absl::StrCat(load.rows.size(), " rows in double");
    // A wrong result has no time worth printing.
    if (!(result.relative_error <= kLargestError)) {
      return MakeError(ErrorReason::kInternal,
                       absl::StrCat("route ", std::string(RouteName(route)), " is off by ",
                                    result.relative_error, " of max |v|, limit ", kLargestError));
    }
    if (peers.empty()) result.peer_note = "peers not asked for";
    if (peers.empty()) Print(options, result);
    for (const MeasuredPeer& peer : peers) {
      result.peer = peer.note.empty() ? peer.name : "";
      result.peer_note = peer.note.empty() ? "" : absl::StrCat(peer.name, " ", peer.note);
      result.peer_seconds = peer.seconds;
      result.peer_relative_error = peer.error;
      Print(options, result);
    }
  }
  return absl::OkStatus();
}

}  // namespace longwave
