// longwave-bench: ourselves and peers in one run, the ratio and the errors beside the times.

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/base/error.h"
#include "tests/bench/bench_report.h"
#include "tests/bench/benchmarks.h"

ABSL_FLAG(int64_t, n, 4096, "tokens of the one sequence");
ABSL_FLAG(std::string, bias, "t5", "relative bias: none, table, clipped, t5 or alibi");
ABSL_FLAG(bool, causal, false, "keys after the query get no weight");
ABSL_FLAG(int64_t, heads, 4, "attention heads");
ABSL_FLAG(int64_t, head_dim, 64, "values per head");
ABSL_FLAG(int64_t, features, 64, "random features per head");
ABSL_FLAG(int64_t, layers, 4, "encoder: layers");
ABSL_FLAG(int64_t, intermediate, 1024, "encoder: width of the feed-forward layer");
ABSL_FLAG(int, threads, 2, "threads, ours and the peers'");
ABSL_FLAG(int, repeat, 5, "runs; the median counts");
ABSL_FLAG(uint64_t, seed, 1, "seed of weights and inputs");
ABSL_FLAG(std::string, routes, "",
          "comma-separated routes; empty: all that are exact and affordable");
ABSL_FLAG(bool, peers, true, "measure peers too");
ABSL_FLAG(bool, json, false, "one JSON object a line");

namespace longwave {
namespace {

constexpr char kUsage[] =
    "usage: longwave-bench attention|encoder [flags]\n\n"
    "  attention  the attention core of one layer: every exact route beside LibTorch's\n"
    "             scaled_dot_product_attention with the same bias and the textbook FFT\n"
    "  encoder    the whole encoder beside the same encoder with exact softmax attention\n\n"
    "Every result is measured in this run, against the same inputs, with its error against a\n"
    "double-precision reference. Exit code 1: a result was wrong. 2: wrong usage.\n"
    "All flags: longwave-bench --help=tests/bench/";

absl::Status Bad(absl::string_view flag, absl::string_view value, absl::string_view limit) {
  return MakeError({.reason = ErrorReason::kInvalidField,
                    .field = std::string(flag),
                    .value = std::string(value),
                    .limit = std::string(limit)},
                   "wrong flag");
}

absl::Status CheckCounts(const BenchOptions& options) {
  const std::pair<const char*, int64_t> counts[] = {
      {"--n", options.tokens},          {"--heads", options.heads},
      {"--head_dim", options.head_dim}, {"--features", options.features},
      {"--layers", options.layers},     {"--intermediate", options.intermediate},
      {"--threads", options.threads},   {"--repeat", options.repeat}};
  for (const auto& [flag, value] : counts) {
    if (value < 1) return Bad(flag, absl::StrCat(value), "at least 1");
  }
  if (options.tokens > 1 << 20) return Bad("--n", absl::StrCat(options.tokens), "1048576");
  return absl::OkStatus();
}

absl::StatusOr<BenchOptions> OptionsFromFlags() {
  BenchOptions options;
  options.tokens = absl::GetFlag(FLAGS_n);
  options.causal = absl::GetFlag(FLAGS_causal);
  options.heads = absl::GetFlag(FLAGS_heads);
  options.head_dim = absl::GetFlag(FLAGS_head_dim);
  options.features = absl::GetFlag(FLAGS_features);
  options.layers = absl::GetFlag(FLAGS_layers);
  options.intermediate = absl::GetFlag(FLAGS_intermediate);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.repeat = absl::GetFlag(FLAGS_repeat);
  options.seed = absl::GetFlag(FLAGS_seed);
  options.peers = absl::GetFlag(FLAGS_peers);
  options.json = absl::GetFlag(FLAGS_json);
  bool known = false;
  for (const BiasKind kind :
       {BiasKind::kNone, BiasKind::kTable, BiasKind::kClipped, BiasKind::kT5, BiasKind::kAlibi}) {
    if (BiasKindName(kind) != absl::GetFlag(FLAGS_bias)) continue;
    options.bias = kind;
    known = true;
  }
  if (!known) return Bad("--bias", absl::GetFlag(FLAGS_bias), "none, table, clipped, t5, alibi");
  const std::string names = absl::GetFlag(FLAGS_routes);
  for (const auto& name : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    bool found = false;
    for (const Route route :
         {Route::kDirect, Route::kTiles, Route::kChunkwise, Route::kFft, Route::kInterpolation}) {
      if (RouteName(route) != name) continue;
      options.routes.push_back(route);
      found = true;
    }
    if (!found) return Bad("--routes", name, "direct, tiles, chunkwise, fft, interpolation");
  }
  if (const absl::Status status = CheckCounts(options); !status.ok()) return status;
  return options;
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const std::string command = arguments.size() == 2 ? arguments[1] : "";
  if (command != "attention" && command != "encoder") {
    std::fprintf(stderr, "%s\n", kUsage);
    return 2;
  }
  const absl::StatusOr<BenchOptions> options = OptionsFromFlags();
  if (!options.ok()) {
    std::fprintf(stderr, "longwave-bench: %s\n", std::string(options.status().message()).c_str());
    return 2;
  }
  const absl::Status status =
      command == "attention" ? RunAttentionBench(*options) : RunEncoderBench(*options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "longwave-bench: %s\n", std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  // Read by MKL and OpenMP when they are loaded first: ours and the peers' threads are set by hand.
  setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  return longwave::Main(argc, argv);
}
