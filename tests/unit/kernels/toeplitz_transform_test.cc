#include "model/kernels/cpu/toeplitz_transform.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace longwave::cpu {
namespace {

TEST(TransformLengthTest, IsTheNextOfItsFamily) {
  EXPECT_EQ(TransformLength(1), 192);
  EXPECT_EQ(TransformLength(192), 192);
  EXPECT_EQ(TransformLength(193), 256);
  EXPECT_EQ(TransformLength(257), 320);
  EXPECT_EQ(TransformLength(321), 384);
  EXPECT_EQ(TransformLength(385), 448);
  EXPECT_EQ(TransformLength(449), 512);
  EXPECT_EQ(TransformLength(1 << 20), 1 << 20);
  EXPECT_EQ(TransformLength((1 << 20) + 1), 5 << 18);
  for (int64_t tokens = 1; tokens < 3000; ++tokens) {
    EXPECT_GE(TransformLength(tokens), tokens);
    if (tokens > 256) {
      EXPECT_LE(TransformLength(tokens), tokens * 5 / 4);
    }
  }
}

// Both halves of one pair of columns, several features.
template <typename T>
struct Workload {
  static constexpr int64_t kFeatures = 3;

  Workload(const Kernels* kernels, int64_t n)
      : transform(kernels, TransformLength(n)),
        exact(kernels, TransformLength(n)),
        tokens(n),
        c(2 * n - 1) {
    std::mt19937_64 generator(n);
    std::normal_distribution<double> normal;
    for (double& weight : c) weight = std::exp(normal(generator));
    std::uniform_real_distribution<double> uniform(0.5, 1.5);
    for (int64_t i = 0; i < n * kFeatures; ++i) {
      keys.push_back(static_cast<T>(std::exp(normal(generator))));
      queries.push_back(static_cast<T>(uniform(generator)));
    }
    for (int64_t i = 0; i < 2 * n; ++i) values.push_back(static_cast<T>(normal(generator)));
  }

  ComplexSpan<T> Zeros() {
    memory.push_back(AllocateAligned<T>(2 * transform.length()));
    T* const begin = memory.back().get();
    std::fill(begin, begin + 2 * transform.length(), T{0});
    return {begin, begin + transform.length()};
  }
  // Row `r` of a matrix of tokens() columns, padded with zeros.
  T* Padded(const std::vector<T>& rows, int64_t r) {
    const int64_t n = tokens;
    T* const begin = Zeros().re;
    std::copy(rows.begin() + r * n, rows.begin() + (r + 1) * n, begin);
    return begin;
  }

  std::vector<double> Run() {
    const int64_t n = tokens;
    using Half = typename ToeplitzTransform<T>::Half;
    const ComplexSpan<T> even = Zeros(), odd = Zeros();
    transform.MakeKernel(Half::kEven, c, exact, even);
    transform.MakeKernel(Half::kOdd, c, exact, odd);
    const ComplexSpan<T> pair = {Padded(values, 0), Padded(values, 1)};
    const ComplexSpan<T> modulated = Zeros(), sums = Zeros(), odd_sums = Zeros(), work = Zeros();
    // What was there before does not matter.
    std::fill(work.re, work.re + 2 * transform.length(), std::numeric_limits<T>::quiet_NaN());
    transform.Modulate(pair, modulated);
    for (int64_t r = 0; r < kFeatures; ++r) {
      FftOperands<T> operands = {.keys = Padded(keys, r),
                                 .queries = Padded(queries, r),
                                 .values = pair,
                                 .kernel = even,
                                 .work = work,
                                 .sums = sums};
      transform.Accumulate(operands);
      operands.values = modulated;
      operands.kernel = odd;
      operands.sums = odd_sums;
      transform.Accumulate(operands);
    }
    transform.AddDemodulated(odd_sums, sums);
    std::vector<double> result(sums.re, sums.re + n);
    result.insert(result.end(), sums.im, sums.im + n);
    return result;
  }

  std::vector<double> Expected() const {
    const int64_t n = tokens;
    std::vector<long double> result(2 * n, 0);
    for (int64_t r = 0; r < kFeatures; ++r) {
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const long double weight =
              c[n - 1 + j - i] * static_cast<long double>(queries[r * n + i]) * keys[r * n + j];
          result[i] += weight * values[j];
          result[n + i] += weight * values[n + j];
        }
      }
    }
    return {result.begin(), result.end()};
  }

  ToeplitzTransform<T> transform;
  ToeplitzTransform<double> exact;
  int64_t tokens;
  std::vector<double> c;
  std::vector<T> keys, queries, values;
  std::vector<AlignedArray<T>> memory;
};

class ToeplitzTransformTest : public ::testing::TestWithParam<const Kernels*> {};

// A transform's rounding is relative to the norm of its result: u log2 L of root mean square, 8
// times that at the worst of a few thousand numbers.
template <typename T>
void ExpectProducts(const Kernels* kernels) {
  // Every radix, and every number of levels modulo two below it.
  for (const int64_t n : {1,   2,   3,   191, 192, 193,  256,  257,  320,  384,
                          448, 500, 640, 768, 896, 1000, 1280, 1537, 2048, 3000}) {
    Workload<T> load(kernels, n);
    const std::vector<double> actual = load.Run();
    const std::vector<double> expected = load.Expected();
    double square = 0, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      square += expected[i] * expected[i];
      worst = std::max(worst, std::abs(actual[i] - expected[i]));
    }
    const double root_mean_square = std::sqrt(square / static_cast<double>(expected.size()));
    const double unit = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
    EXPECT_LE(worst, 8 * unit * std::log2(load.transform.length()) * root_mean_square)
        << "n = " << n;
  }
}

TEST_P(ToeplitzTransformTest, FloatsAreProductsWithTheMatrix) { ExpectProducts<float>(GetParam()); }
TEST_P(ToeplitzTransformTest, DoublesAreProductsWithTheMatrix) {
  ExpectProducts<double>(GetParam());
}

TEST_P(ToeplitzTransformTest, ColumnsOfAPairDoNotMix) {
  Workload<float> load(GetParam(), 300);
  std::fill(load.values.begin() + 300, load.values.end(), 0.0F);
  const std::vector<double> actual = load.Run();
  double largest = 0;
  for (int64_t i = 0; i < 300; ++i) largest = std::max(largest, std::abs(actual[i]));
  for (int64_t i = 300; i < 600; ++i) EXPECT_LE(std::abs(actual[i]), 1e-6 * largest) << i;
}

INSTANTIATE_TEST_SUITE_P(Targets, ToeplitzTransformTest, ::testing::ValuesIn(SupportedKernels()),
                         [](const auto& test) { return std::string(test.param->name); });

}  // namespace
}  // namespace longwave::cpu
