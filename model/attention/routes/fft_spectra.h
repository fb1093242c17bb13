#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_SPECTRA_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_SPECTRA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "model/attention/layer_state.h"
#include "model/attention/routes/fft_device.h"
#include "model/base/lru_cache.h"
#include "model/base/mutex.h"

namespace longwave {

// The smallest length of the form {4, 5, 6, 7} 2^k that is at least `length`: at worst 25 % longer,
// and fast in every library.
int64_t FastTransformLength(int64_t length);

// The sequences that one length of transforms serves: 2 n - 1 <= length, and no shorter length
// would do.
struct FftBucket {
  int64_t length = 0;
  int64_t shortest = 0;  // n
  int64_t longest = 0;
};
// Of a sequence of n >= 1 tokens.
FftBucket BucketOf(int64_t n);

// ĉ of one layer's heads, by head, bucket and precision, on the device. Made when first asked for
// and kept, bounded in bytes. Thread-safe.
class FftSpectra {
 public:
  // `layer` outlives this.
  FftSpectra(const LayerState* layer, std::shared_ptr<FftDevice> device, int64_t capacity_bytes);

  // [length] complex: the spectrum of h(t) = c(-t) on a circle of the bucket's length, divided by
  // the length, so that an inverse transform need not scale. Valid for every sequence of n's
  // bucket: offsets that a shorter one does not have meet only its padding. The current stream may
  // use it at once. `type`: kFloat or kDouble; computed in double either way.
  at::Tensor Get(int head, int64_t n, at::ScalarType type);

  int64_t bytes() const;

 private:
  struct Key {
    int head;
    int64_t length;
    int64_t reach;
    at::ScalarType type;
    bool operator<(const Key& other) const {
      return std::tie(head, length, reach, type) <
             std::tie(other.head, other.length, other.reach, other.type);
    }
  };
  int64_t Reach(int head, int64_t n, const FftBucket& bucket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  at::Tensor Make(const Key& key) const;

  const LayerState& layer_;
  const std::shared_ptr<FftDevice> device_;
  mutable Mutex mutex_;
  LruCache<Key, at::Tensor> spectra_ ABSL_GUARDED_BY(mutex_);
  // Whether a head's bucket is served by one spectrum, by (head, length).
  std::map<std::pair<int, int64_t>, bool> shared_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_SPECTRA_H_
