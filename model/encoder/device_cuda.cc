// The build with CUDA: both kinds of device.
#include <ATen/Parallel.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/encoder/device.h"

namespace longwave {

absl::StatusOr<int> CountCudaDevices() {
  int devices = 0;
  const cudaError_t error = cudaGetDeviceCount(&devices);
  if (error != cudaSuccess) {
    return MakeError(ErrorReason::kInvalidField,
                     absl::StrCat("no usable CUDA device: ", cudaGetErrorString(error)));
  }
  return devices;
}

std::string CudaDeviceClass(c10::Device device) {
  const cudaDeviceProp* properties = at::cuda::getDeviceProperties(device.index());
  return absl::StrCat(properties->name, " sm_", properties->major, properties->minor);
}

struct DeviceStream::State {
  explicit State(c10::Device device)
      : stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}

  c10::cuda::CUDAStream stream;
  // Slice i uses event i % 2: recording it again is safe once slice i - 2 has been waited for.
  std::array<at::cuda::CUDAEvent, 2> events;
  int64_t slices = 0;
};

DeviceStream::DeviceStream(c10::Device device) : device_(device) {
  if (device.is_cuda()) state_ = std::make_unique<State>(device);
}

DeviceStream::~DeviceStream() {
  // Tensors of the job return to the caching allocator, which orders their reuse by stream.
}

void DeviceStream::EndSlice() {
  if (state_ == nullptr) return;
  state_->events[state_->slices % 2].record(state_->stream);
  if (state_->slices > 0) state_->events[(state_->slices - 1) % 2].synchronize();
  ++state_->slices;
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
