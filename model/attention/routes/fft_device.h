#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_DEVICE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_DEVICE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longwave {

// What the FFT route in pairs (fft_pairs.h) asks of a device: transforms and what stands around
// them. On CUDA: cuFFT and kernels of our own; in tests: loops on the host.
//
// A channel is one feature of phi times one pair of columns of [v | 1]; two real columns ride in
// one complex number. Tensors are contiguous unless stated, real ones fp32 or fp64 and complex ones
// of the same precision, all on the device. Work is enqueued on the current stream. Throws what
// LibTorch throws, or std::exception. Thread-safe.
class FftDevice {
 public:
  virtual ~FftDevice() = default;

  // Makes ready what Transform of such a tensor needs. `type`: kFloat or kDouble.
  virtual void Prepare(int64_t channels, int64_t length, at::ScalarType type) = 0;
  // products [channels, length], complex, each channel transformed in place. Not scaled: forward
  // and inverse multiply by the length.
  virtual void Transform(const at::Tensor& products, bool inverse) = 0;

  // products [features, pairs, length] = keys [features, n] o values [pairs, n], zero beyond n.
  virtual void FormProducts(const at::Tensor& keys, const at::Tensor& values,
                            const at::Tensor& products) = 0;
  // products [channels, length] *= spectrum [length].
  virtual void MultiplySpectrum(const at::Tensor& spectrum, const at::Tensor& products) = 0;
  // sums [pairs, n] += sum over features r, in order, of queries [features, n] o products
  // [features, pairs, length].
  virtual void Contract(const at::Tensor& products, const at::Tensor& queries,
                        const at::Tensor& sums) = 0;
  // out [n, d] fp32, last stride 1 = column c of sums [pairs, n] over column d.
  virtual void Divide(const at::Tensor& sums, const at::Tensor& out) = 0;

  // The current stream uses a tensor that another one made: its memory is not given away before.
  virtual void Share(const at::Tensor& tensor) = 0;
  // Waits for what was enqueued on the current stream.
  virtual void Synchronize() = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_DEVICE_H_
