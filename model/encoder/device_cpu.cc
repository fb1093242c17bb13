// The build without CUDA.
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "model/base/error.h"
#include "model/encoder/device.h"

namespace longwave {

absl::StatusOr<int> CountCudaDevices() {
  return MakeError(ErrorReason::kInvalidField, "this build has no CUDA support");
}

std::string CudaDeviceClass(c10::Device) { return "none"; }

struct SliceScope::State {
  c10::InferenceMode inference;
};

SliceScope::SliceScope(const DeviceStream&) : state_(std::make_unique<State>()) {
  at::set_num_threads(1);
}
SliceScope::~SliceScope() = default;

struct DeviceStream::State {};

DeviceStream::DeviceStream(c10::Device device) : device_(device) {}
DeviceStream::~DeviceStream() = default;
void DeviceStream::EndSlice() {}
void DeviceStream::Synchronize() {}

}  // namespace longwave
