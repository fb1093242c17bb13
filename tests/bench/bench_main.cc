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
#include "model/encoder/transformer_encoder.h"
#include "tests/bench/bars.h"
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
ABSL_FLAG(
    std::string, suite, "",
    "bars: the figures that the project holds itself to; grid: many shapes; long: the whole "
    "encoder at 1048576 tokens; tiny: the bars at sizes that prove nothing; empty: one shape");
ABSL_FLAG(std::string, cpu_target, "auto",
          "instruction sets that we and the peers may use: auto, avx2, avx512");
ABSL_FLAG(double, limit, 0.25,
          "suites: a row is refused whose warm-up and repeats lie further apart than this part of "
          "the median");
ABSL_FLAG(int, retries, 3, "suites: how often such a row is measured again");
ABSL_FLAG(int64_t, peer_mib, 8192, "what one peer may allocate");
ABSL_FLAG(std::string, only, "",
          "bars: comma-separated names; these and what is measured with them, instead of all");
ABSL_FLAG(int64_t, grid_features, 0, "grid: only this many features; 0: 32, 64 and 128");
ABSL_FLAG(double, max_seconds, 2, "grid: what would run longer is left out");
ABSL_FLAG(bool, peers, true, "measure peers too");
ABSL_FLAG(bool, json, false, "one JSON object a line");

namespace longwave {
namespace {

constexpr char kUsage[] =
    "usage: longwave-bench attention|encoder|calibrate [flags]\n\n"
    "  attention  the attention core of one layer: every exact route beside LibTorch's\n"
    "             scaled_dot_product_attention with the same bias and the textbook FFT\n"
    "  encoder    the whole encoder beside the same encoder with exact softmax attention\n"
    "  calibrate  prints model/attention/route_costs.json with the costs of this CPU\n\n"
    "Every result is measured in this run, against the same inputs, with its error against a\n"
    "double-precision reference. Exit code 1: a result was wrong. 2: wrong usage. 3: a\n"
    "measurement did not repeat, so that its row is not printed.\n"
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

absl::Status ReadSuite(BenchOptions& options) {
  const std::pair<const char*, BenchSuite> suites[] = {{"", BenchSuite::kOne},
                                                       {"bars", BenchSuite::kBars},
                                                       {"grid", BenchSuite::kGrid},
                                                       {"long", BenchSuite::kLong},
                                                       {"tiny", BenchSuite::kTiny}};
  const std::string given = absl::GetFlag(FLAGS_suite);
  for (const auto& [name, suite] : suites) {
    if (given != name) continue;
    options.suite = suite;
    return absl::OkStatus();
  }
  return Bad("--suite", given, "bars, grid, long, tiny");
}

absl::Status ReadOnly(BenchOptions& options) {
  const std::string names = absl::GetFlag(FLAGS_only);
  for (const auto& name : absl::StrSplit(names, ',', absl::SkipEmpty())) {
    if (!IsBar(std::string(name))) return Bad("--only", std::string(name), "names of bars");
    options.only.push_back(std::string(name));
  }
  return absl::OkStatus();
}

absl::StatusOr<BenchOptions> OptionsFromFlags() {
  BenchOptions options;
  if (const absl::Status status = ReadSuite(options); !status.ok()) return status;
  options.limit = absl::GetFlag(FLAGS_limit);
  options.retries = absl::GetFlag(FLAGS_retries);
  options.peer_bytes = absl::GetFlag(FLAGS_peer_mib) << 20;
  if (const absl::Status status = ReadOnly(options); !status.ok()) return status;
  options.grid_features = absl::GetFlag(FLAGS_grid_features);
  options.max_seconds = absl::GetFlag(FLAGS_max_seconds);
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

absl::Status CheckSuite(const std::string& command, BenchSuite suite) {
  const bool attention = command == "attention";
  if (suite != (attention ? BenchSuite::kLong : BenchSuite::kGrid)) return absl::OkStatus();
  return Bad("--suite", absl::GetFlag(FLAGS_suite),
             attention ? "of attention: bars, grid, tiny" : "of encoder: bars, long, tiny");
}

absl::Status Run(const std::string& command, const BenchOptions& options) {
  if (command == "calibrate") return RunCalibration(options);
  const bool attention = command == "attention";
  switch (options.suite) {
    case BenchSuite::kOne:
      return attention ? RunAttentionBench(options) : RunEncoderBench(options);
    case BenchSuite::kBars:
    case BenchSuite::kTiny:
      return attention ? RunAttentionBars(options) : RunEncoderBars(options);
    case BenchSuite::kGrid:
      return RunAttentionGrid(options);
    case BenchSuite::kLong:
      return RunEncoderLong(options);
  }
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  const std::string command = arguments.size() == 2 ? arguments[1] : "";
  if (command != "attention" && command != "encoder" && command != "calibrate") {
    std::fprintf(stderr, "%s\n", kUsage);
    return 2;
  }
  const absl::StatusOr<BenchOptions> options = OptionsFromFlags();
  absl::Status status = options.status();
  if (status.ok()) status = CheckSuite(command, options->suite);
  // Before anything of the libraries is used: they read the environment once.
  if (status.ok()) status = PrepareProcessForCompute(absl::GetFlag(FLAGS_cpu_target));
  if (!status.ok()) {
    std::fprintf(stderr, "longwave-bench: %s\n", std::string(status.message()).c_str());
    return 2;
  }
  status = Run(command, *options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "longwave-bench: %s\n", std::string(status.message()).c_str());
  return absl::IsUnavailable(status) ? 3 : 1;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  // Read by MKL and OpenMP when they are loaded first: ours and the peers' threads are set by hand.
  setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
  return longwave::Main(argc, argv);
}
