#ifndef LONGWAVE_TESTS_UNIT_ATTENTION_HOST_FFT_DEVICE_H_
#define LONGWAVE_TESTS_UNIT_ATTENTION_HOST_FFT_DEVICE_H_

#include <memory>
#include <set>
#include <tuple>

#include "model/attention/routes/fft_device.h"

namespace longwave {

// The device of the FFT route in pairs played by the host: the kernels' elements in loops, LibTorch
// for the transforms. Remembers what was prepared and transformed.
class HostFftDevice final : public FftDevice {
 public:
  using Shape = std::tuple<int64_t, int64_t, at::ScalarType>;  // channels, length, precision

  void Prepare(int64_t channels, int64_t length, at::ScalarType type) override {
    prepared.insert({channels, length, type});
  }
  void Transform(const at::Tensor& products, bool inverse) override;
  void FormProducts(const at::Tensor& keys, const at::Tensor& values,
                    const at::Tensor& products) override;
  void MultiplySpectrum(const at::Tensor& spectrum, const at::Tensor& products) override;
  void Contract(const at::Tensor& products, const at::Tensor& queries,
                const at::Tensor& sums) override;
  void Divide(const at::Tensor& sums, const at::Tensor& out) override;
  void Share(const at::Tensor&) override { ++shared; }
  void Synchronize() override { ++synchronized; }

  std::set<Shape> prepared;
  std::set<Shape> transformed;
  int shared = 0;
  int synchronized = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ATTENTION_HOST_FFT_DEVICE_H_
