#include "model/encoder/device.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "model/base/error.h"

namespace longwave {
namespace {

absl::Status BadDevice(absl::string_view flag, absl::string_view why) {
  return MakeError(
      ErrorDetails{
          .reason = ErrorReason::kInvalidField, .field = "device", .value = std::string(flag)},
      why);
}

absl::StatusOr<SelectedDevice> SelectCuda(absl::string_view flag, int index) {
  const absl::StatusOr<int> devices = CountCudaDevices();
  if (!devices.ok()) return BadDevice(flag, devices.status().message());
  if (index >= *devices) {
    return BadDevice(flag, absl::StrCat("this machine has ", *devices, " CUDA devices"));
  }
  return SelectedDevice{.device = c10::Device(c10::DeviceType::CUDA, index),
                        .name = absl::StrCat("cuda:", index)};
}

std::string CpuVendor() {
  __builtin_cpu_init();
  if (__builtin_cpu_is("amd")) return "amd";
  if (__builtin_cpu_is("intel")) return "intel";
  return "other";
}

std::string CpuFeatures() {
  std::string features;
  const auto add = [&features](bool has, absl::string_view name) {
    if (has) absl::StrAppend(&features, features.empty() ? "" : "+", name);
  };
  __builtin_cpu_init();
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vl"), "avx512vl");
  add(__builtin_cpu_supports("avx512dq"), "avx512dq");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  add(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
  return features;
}

}  // namespace

absl::StatusOr<SelectedDevice> SelectDevice(absl::string_view flag) {
  if (flag == "cpu") return SelectedDevice{};
  if (flag == "cuda") return SelectCuda(flag, 0);
  if (flag == "auto") {
    const absl::StatusOr<int> devices = CountCudaDevices();
    if (devices.ok() && *devices > 0) return SelectCuda(flag, 0);
    return SelectedDevice{.fallback_reason = devices.ok()
                                                 ? "this machine has no CUDA device"
                                                 : std::string(devices.status().message())};
  }
  int index = 0;
  if (absl::StartsWith(flag, "cuda:") && absl::SimpleAtoi(flag.substr(5), &index) && index >= 0) {
    return SelectCuda(flag, index);
  }
  return BadDevice(flag, "accepted: auto, cpu, cuda, cuda:<index>");
}

std::string DeviceClassText(const SelectedDevice& device) {
  if (device.device.is_cuda()) return absl::StrCat("cuda ", CudaDeviceClass(device.device));
  return absl::StrCat("cpu ", CpuVendor(), " ", CpuFeatures(),
                      " l1d=", sysconf(_SC_LEVEL1_DCACHE_SIZE),
                      " l2=", sysconf(_SC_LEVEL2_CACHE_SIZE), " aten=", at::get_cpu_capability());
}

}  // namespace longwave
