#ifndef LONGWAVE_CLIENT_LOAD_RANDOM_H_
#define LONGWAVE_CLIENT_LOAD_RANDOM_H_

#include <cmath>
#include <cstdint>

namespace longwave::load {

// Numbers from a seed, the same on every platform: the standard library's distributions are not.
// SplitMix64 passes the tests that matter here and has no bad seeds.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
  // Mean 1.
  double Exponential() { return -std::log1p(-Uniform()); }
  // Mean 0, variance 1 (Box-Muller; the second number is not kept, so that the state is one word).
  double Normal() {
    const double radius = std::sqrt(2 * Exponential());
    return radius * std::cos(6.283185307179586 * Uniform());
  }

 private:
  uint64_t state_;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_RANDOM_H_
