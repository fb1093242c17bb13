#ifndef LONGWAVE_TESTS_GPU_DEVICE_FIXTURE_H_
#define LONGWAVE_TESTS_GPU_DEVICE_FIXTURE_H_

#include <cuda_runtime_api.h>

#include <cstdint>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/kernels/cuda/check.h"
#include "model/kernels/cuda/fft_elements.h"

namespace longwave {

// Skips, and says why, where there is no usable device.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) GTEST_SKIP() << "no usable GPU: " << cudaGetErrorString(error);
    if (devices == 0) GTEST_SKIP() << "no usable GPU: this machine has none";
  }
};

// Numbers on the device, copied to and fro while nothing else runs.
template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(const std::vector<T>& host) : size_(host.size()) {
    cuda::Check(cudaMalloc(&data_, size_ * sizeof(T)), "cudaMalloc");
    cuda::Check(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyDefault), "to device");
  }
  ~DeviceArray() { (void)cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return static_cast<T*>(data_); }
  std::vector<T> Host() const {
    cuda::Check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<T> host(size_);
    cuda::Check(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDefault), "to host");
    return host;
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

template <typename Real>
std::vector<Real> RandomReals(int64_t count, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<Real> values(count);
  for (Real& value : values) value = static_cast<Real>(normal(generator));
  return values;
}

template <typename Real>
std::vector<cuda::Pair<Real>> RandomPairs(int64_t count, uint64_t seed) {
  const std::vector<Real> reals = RandomReals<Real>(2 * count, seed);
  std::vector<cuda::Pair<Real>> pairs(count);
  for (int64_t i = 0; i < count; ++i) pairs[i] = {reals[2 * i], reals[2 * i + 1]};
  return pairs;
}

}  // namespace longwave

#endif  // LONGWAVE_TESTS_GPU_DEVICE_FIXTURE_H_
