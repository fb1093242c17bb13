#ifndef LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_
#define LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/api/encoder.h"
#include "model/weights/model_config.h"

namespace longwave {

// What is measured, after flags were parsed and checked.
struct BenchOptions {
  int64_t tokens = 4096;
  BiasKind bias = BiasKind::kT5;
  bool causal = false;
  int64_t heads = 4;
  int64_t head_dim = 64;
  int64_t features = 64;
  int64_t layers = 4;
  int64_t intermediate = 1024;
  int threads = 2;
  int repeat = 5;
  uint64_t seed = 1;
  std::vector<Route> routes;  // empty: every exact route that is affordable at this length
  bool peers = true;
  bool json = false;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BENCH_OPTIONS_H_
