#include "model/attention/routes/fft_cache.h"

#include <utility>

namespace longwave {

// Made outside the lock: two that miss at once make the same thing twice.
template <typename T>
std::shared_ptr<const cpu::ToeplitzTransform<T>> FftCache::Transform(int64_t tokens) {
  const int64_t length = cpu::TransformLength(tokens);
  {
    MutexLock lock(&mutex_);
    if (const auto* found = Of<T>().transforms.Find(length)) return *found;
  }
  auto made = std::make_shared<const cpu::ToeplitzTransform<T>>(kernels_, length);
  MutexLock lock(&mutex_);
  return Of<T>().transforms.Insert(length, made, made->bytes());
}

template <typename T>
std::shared_ptr<const HeadKernels<T>> FftCache::FindKernels(int64_t head, int64_t tokens) {
  MutexLock lock(&mutex_);
  const auto* found = Of<T>().kernels.Find({head, tokens});
  return found == nullptr ? nullptr : *found;
}

template <typename T>
void FftCache::KeepKernels(int64_t head, int64_t tokens,
                           std::shared_ptr<const HeadKernels<T>> kernels) {
  MutexLock lock(&mutex_);
  const int64_t bytes = kernels->bytes();
  Of<T>().kernels.Insert({head, tokens}, std::move(kernels), bytes);
}

template std::shared_ptr<const cpu::ToeplitzTransform<float>> FftCache::Transform(int64_t);
template std::shared_ptr<const cpu::ToeplitzTransform<double>> FftCache::Transform(int64_t);
template std::shared_ptr<const HeadKernels<float>> FftCache::FindKernels(int64_t, int64_t);
template std::shared_ptr<const HeadKernels<double>> FftCache::FindKernels(int64_t, int64_t);
template void FftCache::KeepKernels(int64_t, int64_t, std::shared_ptr<const HeadKernels<float>>);
template void FftCache::KeepKernels(int64_t, int64_t, std::shared_ptr<const HeadKernels<double>>);

}  // namespace longwave
