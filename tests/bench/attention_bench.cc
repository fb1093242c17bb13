#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/encoder/transformer_encoder.h"
#include "tests/bench/attention_peers.h"
#include "tests/bench/attention_rows.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"
#include "tests/bench/workload.h"

namespace longwave {
namespace {

// No route or peer that would take much longer than a minute on a few cores is run unasked.
constexpr int64_t kQuadraticTokens = 16384;
constexpr int64_t kDirectTokens = 2048;
constexpr int64_t kFftTokens = 65536;

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

std::vector<MeasuredPeer> MeasurePeers(const Workload& load, const ExpectedRows& expected,
                                       ComputePool* pool) {
  const BenchOptions& options = load.options;
  std::vector<MeasuredPeer> measured(2);
  measured[0].name = "sdpa_bias";
  measured[1].name = "textbook_fft";
  const PeerInput input = load.Peers();
  std::unique_ptr<Peer> peers[2];
  peers[0] = MakeSdpaBiasPeer(input, options.peer_bytes, &measured[0].note);
  peers[1] = MakeTextbookFftPeer(input, options.peer_bytes, &measured[1].note);
  // Peers get LibTorch's own threads, as many as our pool has.
  at::set_num_threads(options.threads);
  for (int i = 0; i < 2; ++i) {
    if (peers[i] == nullptr) continue;
    at::Tensor output;
    measured[i].seconds =
        MedianSeconds(options.repeat, [&] { output = at::Tensor(peers[i]->run()); });
    const bool softmax = i == 0;
    measured[i].error = WorstError(
        output, load, softmax ? Expected(load, FeatureKind::kSoftmax, true, pool) : expected);
  }
  at::set_num_threads(1);
  return measured;
}

}  // namespace

absl::Status RunAttentionBench(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  ComputePool pool(options.threads, PrepareComputeThread);
  const absl::StatusOr<Workload> load = MakeWorkload(options);
  if (!load.ok()) return load.status();
  const ExpectedRows expected = Expected(*load, FeatureKind::kPrf, true, &pool);
  std::vector<MeasuredPeer> peers;
  if (options.peers) peers = MeasurePeers(*load, expected, &pool);
  for (const Route route : RoutesToRun(options, *load->attention)) {
    if (const absl::Status check = load->attention->Check(options.tokens, route); !check.ok()) {
      return check;
    }
    AttentionResult result;
    result.route = route;
    result.seconds = MedianSeconds(options.repeat, [&] { RunPass(*load, route, &pool); });
    result.relative_error = WorstError(load->out, *load, expected);
    result.reference = load->ReferenceText();
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

absl::Status RunAttentionBars(const BenchOptions& options) {
  const c10::InferenceMode no_gradients;
  at::set_num_threads(1);
  Suite suite(options);
  if (const absl::Status status = suite.MeasureRooflines(); !status.ok()) return status;
  RunCoreRows(suite);
  RunTilesRows(suite);
  RunLogBucketsRow(suite);
  RunFftRows(suite);
  RunInterpolationRows(suite);
  RunRaggedRow(suite);
  return suite.Result();
}

}  // namespace longwave
