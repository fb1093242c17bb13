#include "model/kernels/cuda/cufft_plan_cache.h"

#include <cufft.h>

#include "model/kernels/cuda/check.h"

namespace longwave::cuda {

class CufftPlanCache::Plan {
 public:
  explicit Plan(const FftPlanKey& key) {
    Check(cufftCreate(&handle_), "cufftCreate");
    try {
      // The workspace is ours and comes with each call.
      Check(cufftSetAutoAllocation(handle_, 0), "cufftSetAutoAllocation");
      long long length = key.length;  // NOLINT(google-runtime-int): cuFFT's type
      Check(cufftMakePlanMany64(handle_, /*rank=*/1, &length, nullptr, 1, key.length, nullptr, 1,
                                key.length, key.fp64 ? CUFFT_Z2Z : CUFFT_C2C, key.batch,
                                &workspace_bytes_),
            "cufftMakePlanMany64");
    } catch (...) {
      (void)cufftDestroy(handle_);
      throw;
    }
  }
  ~Plan() { (void)cufftDestroy(handle_); }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  cufftHandle handle() const { return handle_; }
  size_t workspace_bytes() const { return workspace_bytes_; }

 private:
  cufftHandle handle_ = 0;
  size_t workspace_bytes_ = 0;
};

CufftPlanCache::CufftPlanCache(int64_t capacity) : plans_(capacity) {}

// Plans go first, and only when the device has done with them.
CufftPlanCache::~CufftPlanCache() {
  MutexLock lock(&mutex_);
  try {
    workspace_.Synchronize();
  } catch (...) {  // the device is lost, and its memory with it
  }
  plans_.Clear();
}

CufftPlanCache::Plan& CufftPlanCache::FindOrMake(const FftPlanKey& key) {
  const auto make = [this](const FftPlanKey& wanted) {
    // Another plan may have to go for it, and the device may not have done with that one.
    workspace_.Synchronize();
    return std::make_unique<Plan>(wanted);
  };
  Plan& plan = *plans_.GetOrMake(key, /*cost=*/1, make);
  workspace_.Reserve(plan.workspace_bytes());
  return plan;
}

void CufftPlanCache::Prepare(const FftPlanKey& key) {
  MutexLock lock(&mutex_);
  FindOrMake(key);
}

void CufftPlanCache::Execute(const FftPlanKey& key, bool inverse, void* data, Stream stream) {
  MutexLock lock(&mutex_);
  const Plan& plan = FindOrMake(key);
  Check(cufftSetStream(plan.handle(), stream), "cufftSetStream");
  Check(cufftSetWorkArea(plan.handle(), workspace_.Acquire(stream)), "cufftSetWorkArea");
  const int direction = inverse ? CUFFT_INVERSE : CUFFT_FORWARD;
  if (key.fp64) {
    auto* const numbers = static_cast<cufftDoubleComplex*>(data);
    Check(cufftExecZ2Z(plan.handle(), numbers, numbers, direction), "cufftExecZ2Z");
  } else {
    auto* const numbers = static_cast<cufftComplex*>(data);
    Check(cufftExecC2C(plan.handle(), numbers, numbers, direction), "cufftExecC2C");
  }
  workspace_.Release(stream);
}

int64_t CufftPlanCache::plans() const {
  MutexLock lock(&mutex_);
  return plans_.size();
}

size_t CufftPlanCache::workspace_bytes() const {
  MutexLock lock(&mutex_);
  return workspace_.bytes();
}

}  // namespace longwave::cuda
