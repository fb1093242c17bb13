// The kernels around the transforms against loops on the host over the same elements. Tolerance:
// the device fuses multiplications and additions, the host may not; both round each of the terms of
// one number once or twice.
#include "model/kernels/cuda/fft_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/gpu/device_fixture.h"

namespace longwave::cuda {
namespace {

template <typename Real>
class FftKernelsTest : public DeviceTest {
 protected:
  using Pairs = std::vector<Pair<Real>>;

  // `terms` of size up to `largest` add up to one number.
  static void ExpectClose(const Pairs& actual, const Pairs& expected, double terms,
                          double largest) {
    ASSERT_EQ(actual.size(), expected.size());
    const double tolerance = 4 * terms * largest * std::numeric_limits<Real>::epsilon();
    for (size_t i = 0; i < actual.size(); ++i) {
      ASSERT_NEAR(actual[i].re, expected[i].re, tolerance) << "number " << i;
      ASSERT_NEAR(actual[i].im, expected[i].im, tolerance) << "number " << i;
    }
  }
  // Normals of these tests stay below 6: so do products below 36 each way.
  static constexpr double kLargest = 36;

  // Around a block of threads and far from it; one pair and several.
  static std::vector<FftExtents> Shapes() {
    return {{.features = 1, .pairs = 1, .tokens = 1, .length = 4},
            {.features = 3, .pairs = 2, .tokens = 255, .length = 512},
            {.features = 5, .pairs = 9, .tokens = 257, .length = 640},
            {.features = 64, .pairs = 33, .tokens = 1000, .length = 2048}};
  }
};

using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(FftKernelsTest, Reals);

TYPED_TEST(FftKernelsTest, FormProducts) {
  for (const FftExtents& extents : this->Shapes()) {
    const int64_t channels = extents.features * extents.pairs;
    const auto keys = RandomReals<TypeParam>(extents.features * extents.tokens, 1);
    const auto values = RandomPairs<TypeParam>(extents.pairs * extents.tokens, 2);
    DeviceArray<TypeParam> device_keys(keys);
    DeviceArray<Pair<TypeParam>> device_values(values);
    DeviceArray<Pair<TypeParam>> products(RandomPairs<TypeParam>(channels * extents.length, 3));
    LaunchFormProducts<TypeParam>(device_keys.data(), device_values.data(), extents,
                                  products.data(), nullptr);
    std::vector<Pair<TypeParam>> expected;
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t i = 0; i < extents.length; ++i) {
        expected.push_back(FormElement(keys.data(), values.data(), extents, channel, i));
      }
    }
    this->ExpectClose(products.Host(), expected, 1, this->kLargest);
  }
}

TYPED_TEST(FftKernelsTest, MultiplySpectrum) {
  for (const FftExtents& extents : this->Shapes()) {
    const int64_t channels = extents.features * extents.pairs;
    const auto spectrum = RandomPairs<TypeParam>(extents.length, 4);
    auto expected = RandomPairs<TypeParam>(channels * extents.length, 5);
    DeviceArray<Pair<TypeParam>> device_spectrum(spectrum);
    DeviceArray<Pair<TypeParam>> products(expected);
    LaunchMultiplySpectrum<TypeParam>(device_spectrum.data(), channels, extents.length,
                                      products.data(), nullptr);
    for (int64_t at = 0; at < channels * extents.length; ++at) {
      expected[at] = MultiplyElement(expected[at], spectrum[at % extents.length]);
    }
    this->ExpectClose(products.Host(), expected, 2, this->kLargest);
  }
}

TYPED_TEST(FftKernelsTest, Contract) {
  for (const FftExtents& extents : this->Shapes()) {
    const int64_t channels = extents.features * extents.pairs;
    const auto products = RandomPairs<TypeParam>(channels * extents.length, 6);
    const auto queries = RandomReals<TypeParam>(extents.features * extents.tokens, 7);
    auto expected = RandomPairs<TypeParam>(extents.pairs * extents.tokens, 8);
    DeviceArray<Pair<TypeParam>> device_products(products);
    DeviceArray<TypeParam> device_queries(queries);
    DeviceArray<Pair<TypeParam>> sums(expected);
    LaunchContract<TypeParam>(device_products.data(), device_queries.data(), extents, sums.data(),
                              nullptr);
    for (int64_t pair = 0; pair < extents.pairs; ++pair) {
      for (int64_t i = 0; i < extents.tokens; ++i) {
        auto& sum = expected[pair * extents.tokens + i];
        sum = ContractElement(products.data(), queries.data(), extents, pair, i, sum);
      }
    }
    this->ExpectClose(sums.Host(), expected, static_cast<double>(extents.features + 1),
                      this->kLargest);
  }
}

TYPED_TEST(FftKernelsTest, Divide) {
  for (const int64_t columns : {2, 3, 17, 65}) {
    const int64_t tokens = 300;
    const int64_t pairs = (columns + 1) / 2;
    const int64_t stride = 3 * columns;
    auto sums = RandomPairs<TypeParam>(pairs * tokens, 9);
    // Denominators as positive features give them.
    for (auto& pair : sums) pair = {std::abs(pair.re) + 1, std::abs(pair.im) + 1};
    DeviceArray<Pair<TypeParam>> device_sums(sums);
    const float untouched = -1;
    DeviceArray<float> out(std::vector<float>(tokens * stride, untouched));
    LaunchDivide<TypeParam>(device_sums.data(), tokens, columns, stride, out.data(), nullptr);
    const std::vector<float> actual = out.Host();
    for (int64_t at = 0; at < tokens * stride; ++at) {
      const int64_t column = at % stride;
      const float expected = column < columns - 1
                                 ? static_cast<float>(QuotientElement(sums.data(), tokens, columns,
                                                                      column, at / stride))
                                 : untouched;
      ASSERT_FLOAT_EQ(actual[at], expected) << "number " << at;
    }
  }
}

}  // namespace
}  // namespace longwave::cuda
