#ifndef LONGWAVE_MODEL_KERNELS_CUDA_CUFFT_PLAN_CACHE_H_
#define LONGWAVE_MODEL_KERNELS_CUDA_CUFFT_PLAN_CACHE_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "model/base/lru_cache.h"
#include "model/base/mutex.h"
#include "model/kernels/cuda/shared_workspace.h"

namespace longwave::cuda {

// `batch` complex signals of `length` numbers, one behind the other, transformed in place.
struct FftPlanKey {
  int64_t length = 0;
  int64_t batch = 0;
  bool fp64 = false;
  auto operator<=>(const FftPlanKey&) const = default;
};

// The cuFFT plans of one device. LibTorch's own cache gives every plan a workspace and is bounded
// by a count of plans of any size; here all plans share one workspace, since the transforms of a
// device follow one another anyway, and their number is known: one or two for each length of the
// form {4, 5, 6, 7} 2^k in use. One of a device: OfDevice (device_registry.h). Thread-safe. The
// device is the current one at every call.
class CufftPlanCache {
 public:
  // Four lengths to an octave, ten octaves (2 k to 2 M), three plans a length: batches in fp32 and
  // in fp64, and a spectrum of c. A plan is some host memory and tables of its length.
  static constexpr int64_t kPlans = 120;

  explicit CufftPlanCache(int64_t capacity = kPlans);
  ~CufftPlanCache();

  // Makes the plan and grows the workspace, so that no request has to.
  void Prepare(const FftPlanKey& key);
  // Enqueues the transform of `data` (complex numbers of the key's precision). Not scaled: forward
  // and inverse multiply by the length. Throws std::bad_alloc without memory for a plan or the
  // workspace.
  void Execute(const FftPlanKey& key, bool inverse, void* data, Stream stream);

  int64_t plans() const;
  size_t workspace_bytes() const;

 private:
  // Owns a cufftHandle.
  class Plan;
  Plan& FindOrMake(const FftPlanKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  SharedWorkspace workspace_ ABSL_GUARDED_BY(mutex_);
  LruCache<FftPlanKey, std::unique_ptr<Plan>> plans_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave::cuda

#endif  // LONGWAVE_MODEL_KERNELS_CUDA_CUFFT_PLAN_CACHE_H_
