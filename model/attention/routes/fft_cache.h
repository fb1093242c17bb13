#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CACHE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CACHE_H_

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "model/base/lru_cache.h"
#include "model/base/mutex.h"
#include "model/kernels/cpu/kernels.h"
#include "model/kernels/cpu/toeplitz_transform.h"

namespace longwave {

// The kernels of one head's C at one length: both halves, [length] each.
template <typename T>
class HeadKernels {
 public:
  explicit HeadKernels(int64_t length)
      : length_(length), numbers_(cpu::AllocateAligned<T>(4 * length)) {}
  cpu::ComplexSpan<T> half(typename cpu::ToeplitzTransform<T>::Half which) const {
    const bool odd = which == cpu::ToeplitzTransform<T>::Half::kOdd;
    T* const re = numbers_.get() + (odd ? 2 * length_ : 0);
    return {re, re + length_};
  }
  int64_t bytes() const { return 4 * length_ * static_cast<int64_t>(sizeof(T)); }

 private:
  const int64_t length_;
  cpu::AlignedArray<T> numbers_;
};

// What passes of one layer have in common. Bounded: a service sees many lengths, and making all
// this anew is about a hundredth of a pass. What a pass holds lives as long as the pass.
// Thread-safe.
class FftCache {
 public:
  // `kernels` outlives this and all transforms.
  explicit FftCache(const cpu::Kernels* kernels) : kernels_(kernels) {}

  // Of TransformLength(tokens).
  template <typename T>
  std::shared_ptr<const cpu::ToeplitzTransform<T>> Transform(int64_t tokens);

  // Null if they are not kept.
  template <typename T>
  std::shared_ptr<const HeadKernels<T>> FindKernels(int64_t head, int64_t tokens);
  template <typename T>
  void KeepKernels(int64_t head, int64_t tokens, std::shared_ptr<const HeadKernels<T>> kernels);

 private:
  // At 64 k tokens: all of a length's transforms, and the kernels of eight heads.
  static constexpr int64_t kTransformBytes = int64_t{8} << 20;
  static constexpr int64_t kKernelBytes = int64_t{8} << 20;

  template <typename T>
  struct Kept {
    LruCache<int64_t, std::shared_ptr<const cpu::ToeplitzTransform<T>>> transforms{kTransformBytes};
    LruCache<std::pair<int64_t, int64_t>, std::shared_ptr<const HeadKernels<T>>> kernels{
        kKernelBytes};
  };
  template <typename T>
  Kept<T>& Of() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if constexpr (std::is_same_v<T, float>) {
      return narrow_;
    } else {
      return wide_;
    }
  }

  const cpu::Kernels* const kernels_;
  Mutex mutex_;
  Kept<float> narrow_ ABSL_GUARDED_BY(mutex_);
  Kept<double> wide_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_CACHE_H_
