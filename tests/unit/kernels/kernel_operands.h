#ifndef LONGWAVE_TESTS_UNIT_KERNELS_KERNEL_OPERANDS_H_
#define LONGWAVE_TESTS_UNIT_KERNELS_KERNEL_OPERANDS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "model/kernels/cpu/kernels.h"

// Operands of the kernels, and the fixture that runs a test for every instruction set and shape.
namespace longwave::cpu {

inline constexpr double kEpsilon = 0x1p-24;

// Aligned floats, filled with a number that would be seen in a result.
class Floats {
 public:
  explicit Floats(int64_t count, float fill = 0)
      : size_(count),
        data_(static_cast<float*>(std::aligned_alloc(64, RoundUp(count, 16) * sizeof(float)))) {
    std::fill(data_.get(), data_.get() + RoundUp(count, 16), fill);
  }
  float* data() { return data_.get(); }
  float& operator[](int64_t i) { return data_.get()[i]; }
  float operator[](int64_t i) const { return data_.get()[i]; }
  std::vector<float> Copy() const { return {data_.get(), data_.get() + size_}; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  int64_t size_;
  std::unique_ptr<float, Free> data_;
};

inline Floats Random(int64_t count, uint64_t seed, float low, float high) {
  std::mt19937_64 generator(seed);
  std::uniform_real_distribution<float> value(low, high);
  Floats floats(count);
  for (int64_t i = 0; i < count; ++i) floats[i] = value(generator);
  return floats;
}

struct Shape {
  int64_t features;
  int64_t head_dim;
};

class CpuKernelsTest : public testing::TestWithParam<std::tuple<const Kernels*, Shape>> {
 protected:
  const Kernels& kernels() const { return *std::get<0>(GetParam()); }
  int64_t m() const { return std::get<1>(GetParam()).features; }
  int64_t d() const { return std::get<1>(GetParam()).head_dim; }
  int64_t columns() const { return PaddedColumns(d()); }
  HeadShape shape() const { return {m(), d()}; }

  // phi(k) [groups][m][16] and v [keys][columns], zero beyond `keys`.
  Floats Keys(int64_t keys) const {
    Floats phi = Random(KeyGroups(keys) * m() * kKeyGroup, 2, 0.01f, 2);
    for (int64_t j = keys; j < RoundUp(keys, kKeyGroup); ++j) {
      for (int64_t r = 0; r < m(); ++r) phi[KeyIndex(j, r)] = 0;
    }
    return phi;
  }
  Floats Values(int64_t keys) const {
    Floats v = Random(RoundUp(keys, kKeyGroup) * columns(), 3, -1, 1);
    for (int64_t j = 0; j < RoundUp(keys, kKeyGroup); ++j) {
      for (int64_t c = j < keys ? d() : 0; c < columns(); ++c) v[j * columns() + c] = 0;
    }
    return v;
  }
  int64_t KeyIndex(int64_t key, int64_t feature) const {
    return (key / kKeyGroup * m() + feature) * kKeyGroup + key % kKeyGroup;
  }
  // A sum of `terms` products with magnitudes that add up to `magnitude`: each product and each
  // addition rounds once.
  static double Tolerance(double magnitude, int64_t terms) {
    return kEpsilon * static_cast<double>(terms + 4) * magnitude;
  }
};

inline std::string NameOf(const testing::TestParamInfo<std::tuple<const Kernels*, Shape>>& info) {
  const Shape shape = std::get<1>(info.param);
  return std::string(std::get<0>(info.param)->name) + "_m" + std::to_string(shape.features) + "_d" +
         std::to_string(shape.head_dim);
}

inline auto AllTargetsAndShapes() {
  return testing::Combine(
      testing::ValuesIn(SupportedKernels()),
      testing::Values(Shape{64, 64}, Shape{32, 32}, Shape{24, 16}, Shape{128, 96}, Shape{5, 3},
                      Shape{20, 40}, Shape{140, 80}));
}

}  // namespace longwave::cpu

#endif  // LONGWAVE_TESTS_UNIT_KERNELS_KERNEL_OPERANDS_H_
