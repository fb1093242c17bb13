#ifndef LONGWAVE_MODEL_ENCODER_DEVICE_H_
#define LONGWAVE_MODEL_ENCODER_DEVICE_H_

#include <c10/core/Device.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// What differs between devices. The functions that need CUDA are in device_cpu.cc (built without
// it: they say so) and device_cuda.cc, of which CMake takes one; the rest is in device.cc.
namespace longwave {

struct SelectedDevice {
  c10::Device device = c10::Device(c10::DeviceType::CPU);
  std::string name = "cpu";     // or "cuda:0"
  std::string fallback_reason;  // why "auto" took the CPU; empty: it did not fall back
};

// `flag`: "auto", "cpu", "cuda" or "cuda:<index>". INVALID_ARGUMENT for anything else, and for a
// CUDA device that was asked for by name and cannot be used; "auto" falls back to the CPU.
absl::StatusOr<SelectedDevice> SelectDevice(absl::string_view flag);

// What decides the bits of an operation on this device beside the source: for a CPU its vendor,
// instruction sets and cache sizes (oneDNN and MKL choose kernels and block sizes by them).
std::string DeviceClassText(const SelectedDevice& device);

// The number of usable CUDA devices, or why there are none.
absl::StatusOr<int> CountCudaDevices();
// "H100 sm_90", say. Precondition: the device is usable.
std::string CudaDeviceClass(c10::Device device);

// Prepares the current thread for a slice, and undoes it at the end of the scope: inference mode,
// one LibTorch thread, and on CUDA the device and a stream of the job's own. All of these are
// thread-local, and a job may be stepped by different threads, so every slice opens its own scope.
class DeviceStream;
class SliceScope {
 public:
  explicit SliceScope(const DeviceStream& stream);
  ~SliceScope();
  SliceScope(const SliceScope&) = delete;
  SliceScope& operator=(const SliceScope&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The stream of one job. On the CPU there is nothing to it: work is done when the call returns.
class DeviceStream {
 public:
  explicit DeviceStream(c10::Device device);
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  // Marks the end of a slice and waits for the one before it, so that at most two are in flight.
  // Throws what LibTorch throws.
  void EndSlice();
  // Waits for all that was enqueued. Throws what LibTorch throws.
  void Synchronize();

 private:
  friend class SliceScope;
  struct State;
  c10::Device device_;
  std::unique_ptr<State> state_;  // null on the CPU
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_DEVICE_H_
