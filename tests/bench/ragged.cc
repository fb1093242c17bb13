#include "tests/bench/ragged.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace longwave {

std::vector<int64_t> LogUniformLengths(int64_t total, int64_t shortest, int64_t longest,
                                       uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<double> uniform(std::log(static_cast<double>(shortest)),
                                                 std::log(static_cast<double>(longest)));
  std::vector<int64_t> lengths;
  for (int64_t left = total; left > 0; left -= lengths.back()) {
    const int64_t length = std::llround(std::exp(uniform(generator)));
    lengths.push_back(std::min(left, std::clamp(length, shortest, longest)));
  }
  return lengths;
}

}  // namespace longwave
