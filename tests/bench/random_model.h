#ifndef LONGWAVE_TESTS_BENCH_RANDOM_MODEL_H_
#define LONGWAVE_TESTS_BENCH_RANDOM_MODEL_H_

#include <cstdint>
#include <vector>

#include "model/weights/model_folder.h"
#include "tests/bench/bench_options.h"

namespace longwave {

// A byte-level model of the asked-for shape with seeded Gaussian weights: what a benchmark needs of
// a model is its shape, and a bias of a realistic spread (standard deviation 1/2). It has
// no n-grams, as its peers and the double encoder have none.
ModelFolder RandomModel(const BenchOptions& options, FeatureKind features);

// `count` values of N(0, 1).
std::vector<float> RandomNormal(int64_t count, uint64_t seed);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_RANDOM_MODEL_H_
