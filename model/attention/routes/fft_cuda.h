#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CUDA_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CUDA_H_

#include <c10/core/Device.h>

#include <memory>

#include "model/attention/routes/fft_device.h"

namespace longwave {

// cuFFT and our kernels (model/kernels/cuda) on a CUDA device. Null for a CPU, and in a build
// without CUDA: CMake takes fft_cuda.cc or fft_cuda_absent.cc.
std::shared_ptr<FftDevice> MakeCudaFftDevice(c10::Device device);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CUDA_H_
