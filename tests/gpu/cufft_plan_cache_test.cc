#include "model/kernels/cuda/cufft_plan_cache.h"

#include <cmath>
#include <complex>
#include <cstdint>
#include <cstring>
#include <numbers>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cuda/device_registry.h"
#include "tests/gpu/device_fixture.h"

namespace longwave::cuda {
namespace {

class CufftPlanCacheTest : public DeviceTest {
 protected:
  template <typename Real>
  static std::vector<Pair<Real>> Transform(CufftPlanCache& cache, const FftPlanKey& key,
                                           bool inverse, const std::vector<Pair<Real>>& signal,
                                           Stream stream = nullptr) {
    DeviceArray<Pair<Real>> data(signal);
    cache.Execute(key, inverse, data.data(), stream);
    return data.Host();
  }
};

TEST_F(CufftPlanCacheTest, TransformsAreTheDefinition) {
  CufftPlanCache cache;
  const FftPlanKey key = {.length = 7 * 8, .batch = 3, .fp64 = true};
  const auto signal = RandomPairs<double>(key.length * key.batch, 1);
  const auto spectrum = Transform<double>(cache, key, /*inverse=*/false, signal);
  for (int64_t b = 0; b < key.batch; ++b) {
    for (int64_t f = 0; f < key.length; ++f) {
      std::complex<double> sum = 0;
      for (int64_t t = 0; t < key.length; ++t) {
        const auto& x = signal[b * key.length + t];
        const double angle = -2 * std::numbers::pi * static_cast<double>(f * t % key.length) /
                             static_cast<double>(key.length);
        sum += std::complex<double>(x.re, x.im) * std::polar(1.0, angle);
      }
      ASSERT_NEAR(spectrum[b * key.length + f].re, sum.real(), 1e-11);
      ASSERT_NEAR(spectrum[b * key.length + f].im, sum.imag(), 1e-11);
    }
  }
}

// Every form of length that the route takes. Error of a transform: log2 of the length times a few
// roundings, relative to the largest number of the signal times the root of the length.
TEST_F(CufftPlanCacheTest, ForwardAndInverseMultiplyByTheLength) {
  CufftPlanCache cache;
  for (const int64_t factor : {4, 5, 6, 7}) {
    for (const int64_t power : {1, 256, 4096}) {
      const FftPlanKey key = {.length = factor * power, .batch = 4};
      const auto signal = RandomPairs<float>(key.length * key.batch, 2);
      const auto there = Transform<float>(cache, key, /*inverse=*/false, signal);
      const auto back = Transform<float>(cache, key, /*inverse=*/true, there);
      const double length = static_cast<double>(key.length);
      const double tolerance = 0x1p-24 * 16 * (1 + std::log2(length)) * length;
      for (size_t i = 0; i < signal.size(); ++i) {
        ASSERT_NEAR(back[i].re, length * signal[i].re, tolerance) << key.length << " at " << i;
        ASSERT_NEAR(back[i].im, length * signal[i].im, tolerance) << key.length << " at " << i;
      }
    }
  }
}

TEST_F(CufftPlanCacheTest, PlansAreBounded) {
  CufftPlanCache cache(/*capacity=*/2);
  for (const int64_t length : {4, 5, 6, 7, 8}) {
    cache.Prepare({.length = 64 * length, .batch = 2});
    EXPECT_LE(cache.plans(), 2);
  }
}

// The workspace is one: calls on two streams in turns, of plans that come and go, give what single
// calls give.
TEST_F(CufftPlanCacheTest, StreamsTakeTurns) {
  CufftPlanCache cache(/*capacity=*/1);
  constexpr int kStreams = 2;
  cudaStream_t streams[kStreams];
  for (cudaStream_t& stream : streams) Check(cudaStreamCreate(&stream), "cudaStreamCreate");
  const FftPlanKey keys[kStreams] = {{.length = 7 << 14, .batch = 8},
                                     {.length = 5 << 14, .batch = 8}};
  for (int round = 0; round < 8; ++round) {
    std::vector<std::vector<Pair<float>>> signals;
    for (int s = 0; s < kStreams; ++s) {
      signals.push_back(RandomPairs<float>(keys[s].length * keys[s].batch, 10 * round + s));
    }
    DeviceArray<Pair<float>> first(signals[0]);
    DeviceArray<Pair<float>> second(signals[1]);
    cache.Execute(keys[0], false, first.data(), streams[0]);
    cache.Execute(keys[1], false, second.data(), streams[1]);
    const auto expect_same_bits = [&](const std::vector<Pair<float>>& actual, int s) {
      const auto alone = Transform<float>(cache, keys[s], false, signals[s]);
      EXPECT_EQ(std::memcmp(actual.data(), alone.data(), alone.size() * sizeof(alone[0])), 0)
          << "stream " << s << ", round " << round;
    };
    const auto first_result = first.Host();
    const auto second_result = second.Host();
    expect_same_bits(first_result, 0);
    expect_same_bits(second_result, 1);
  }
  for (const cudaStream_t stream : streams) Check(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

TEST_F(CufftPlanCacheTest, ADeviceHasOneCache) {
  const auto cache = OfDevice<CufftPlanCache>(0);
  EXPECT_EQ(OfDevice<CufftPlanCache>(0), cache);
}

}  // namespace
}  // namespace longwave::cuda
