// The build with CUDA: both kinds of device. Only c10's and the runtime's headers, so that no other
// CUDA library need be there to compile it.
#include <ATen/Parallel.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/encoder/device.h"

namespace longwave {

absl::StatusOr<int> CountCudaDevices() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error == cudaSuccess) return devices;
  (void)cudaGetLastError();  // or the next check of LibTorch's would find it
  return MakeError(ErrorReason::kInvalidField,
                   absl::StrCat("no usable CUDA device: ", cudaGetErrorString(error)));
}

std::string CudaDeviceClass(c10::Device device) {
  cudaDeviceProp properties;
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device.index()));
  return absl::StrCat(properties.name, " sm_", properties.major, properties.minor);
}

struct DeviceStream::State {
  explicit State(c10::Device device)
      : stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  c10::cuda::CUDAStream stream;
  // Slice i records event i % 2, which slice i - 2 recorded before and slice i - 1 waited for.
  std::array<c10::Event, 2> events = {c10::Event(c10::DeviceType::CUDA),
                                      c10::Event(c10::DeviceType::CUDA)};
  int64_t slices = 0;
};

DeviceStream::DeviceStream(c10::Device device) : device_(device) {
  if (device.is_cuda()) state_ = std::make_unique<State>(device);
}

// Tensors of the job go back to the caching allocator, which orders their reuse by stream: there is
// nothing to wait for.
DeviceStream::~DeviceStream() = default;

void DeviceStream::EndSlice() {
  if (state_ == nullptr) return;
  state_->events[state_->slices % 2].record(state_->stream.unwrap());
  if (state_->slices > 0) state_->events[(state_->slices - 1) % 2].synchronize();
  ++state_->slices;
}

void DeviceStream::Synchronize() {
  if (state_ != nullptr) state_->stream.synchronize();
}

struct SliceScope::State {
  c10::InferenceMode inference;
  std::optional<c10::cuda::CUDAStreamGuard> stream;
};

SliceScope::SliceScope(const DeviceStream& stream) : state_(std::make_unique<State>()) {
  at::set_num_threads(1);
  if (stream.state_ != nullptr) state_->stream.emplace(stream.state_->stream);
}
SliceScope::~SliceScope() = default;

}  // namespace longwave
