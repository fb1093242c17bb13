#ifndef LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_
#define LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/api/encoder.h"
#include "model/weights/model_config.h"

namespace longwave {

// kOne: one shape, all routes. The others are fixed lists of shapes.
enum class BenchSuite { kOne, kBars, kGrid, kLong, kTiny };

// What is measured, after flags were parsed and checked.
struct BenchOptions {
  BenchSuite suite = BenchSuite::kOne;
  int64_t tokens = 4096;
  BiasKind bias = BiasKind::kT5;
  int64_t max_distance = 128;  // kClipped, kT5
  bool power_law = false;      // kTable: b(o) = -log(1 + |o|) instead of random values
  bool causal = false;
  int64_t heads = 4;
  int64_t head_dim = 64;
  int64_t features = 64;
  int64_t layers = 4;
  int64_t intermediate = 1024;
  int threads = 2;
  int repeat = 5;
  double limit = 0.25;  // how far warm-up and repeats may lie apart
  int retries = 3;
  int64_t peer_bytes = int64_t{8} << 30;
  double max_seconds = 2;  // grid: of one run; what would take longer is left out
  uint64_t seed = 1;
  std::vector<std::string> only;  // bars: these and what is measured with them; empty: all
  int64_t grid_features = 0;      // grid: only these; 0: 32, 64 and 128
  std::vector<Route> routes;      // empty: every exact route that is affordable at this length
  bool peers = true;
  bool json = false;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_
