#include "model/attention/routes/fft_spectra.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace longwave {
namespace {

// The precision guard looks at the row sums of n tokens; a transform's error grows with the largest
// row sum that its circle holds. Up to this factor between the two (a flat c has 1.25, the ratio of
// a bucket's ends) the guard's margin covers it; where c rises far from the diagonal each length
// has a spectrum of its own.
constexpr double kMaxGrowth = 1.5;

// The length before `length` in {4, 5, 6, 7} 2^k; 0 if there is none.
int64_t LengthBefore(int64_t length) {
  int64_t power = 1;
  while (length / power > 7) power *= 2;
  const int64_t factor = length / power;
  if (factor > 4) return (factor - 1) * power;
  return power > 1 ? 7 * power / 2 : 0;
}

int64_t LongestOf(int64_t length) { return (length + 1) / 2; }

// Of the matrices C of so many tokens, from c(o) for |o| < half: c[half - 1 + o].
double LargestRowSum(const std::vector<double>& c, int64_t half, int64_t tokens) {
  std::vector<double> after(tokens, 0);
  for (int64_t o = 1; o < tokens; ++o) after[o] = after[o - 1] + c[half - 1 + o];
  double before = c[half - 1];
  double largest = 0;
  for (int64_t i = 0; i < tokens; ++i) {
    if (i > 0) before += c[half - 1 - i];
    largest = std::max(largest, before + after[tokens - 1 - i]);
  }
  return largest;
}

}  // namespace

int64_t FastTransformLength(int64_t length) {
  int64_t power = 1;
  while (7 * power < length) power *= 2;
  for (const int64_t factor : {4, 5, 6}) {
    if (factor * power >= length) return factor * power;
  }
  return 7 * power;
}

FftBucket BucketOf(int64_t n) {
  const int64_t length = FastTransformLength(2 * n - 1);
  const int64_t before = LengthBefore(length);
  return {.length = length,
          .shortest = before == 0 ? 1 : LongestOf(before) + 1,
          .longest = LongestOf(length)};
}

FftSpectra::FftSpectra(const LayerState* layer, std::shared_ptr<FftDevice> device,
                       int64_t capacity_bytes)
    : layer_(*layer), device_(std::move(device)), spectra_(capacity_bytes) {}

// Tokens whose offsets the circle holds.
int64_t FftSpectra::Reach(int head, int64_t n, const FftBucket& bucket) {
  const auto [found, is_new] = shared_.try_emplace({head, bucket.length}, false);
  if (is_new) {
    const std::vector<double> c =
        layer_.weights.Range(head, 1 - bucket.longest, bucket.longest - 1);
    found->second = LargestRowSum(c, bucket.longest, bucket.longest) <=
                    kMaxGrowth * LargestRowSum(c, bucket.longest, bucket.shortest);
  }
  return found->second ? bucket.longest : n;
}

at::Tensor FftSpectra::Get(int head, int64_t n, at::ScalarType type) {
  MutexLock lock(&mutex_);
  const FftBucket bucket = BucketOf(n);
  const Key key = {head, bucket.length, Reach(head, n, bucket), type};
  const int64_t bytes = bucket.length * (type == at::kDouble ? 16 : 8);
  const at::Tensor spectrum =
      spectra_.GetOrMake(key, bytes, [this](const Key& wanted) { return Make(wanted); });
  device_->Share(spectrum);
  return spectrum;
}

// out_i = sum_j c(j - i) x_j = sum_j h(i - j) x_j with h(t) = c(-t): a correlation with c.
at::Tensor FftSpectra::Make(const Key& key) const {
  const std::vector<double> c = layer_.weights.Range(key.head, 1 - key.reach, key.reach - 1);
  at::Tensor host = at::zeros({1, key.length}, at::kComplexDouble);
  auto* const h = host.data_ptr<c10::complex<double>>();
  for (int64_t t = 0; t < key.reach; ++t) {
    h[t] = c[key.reach - 1 - t];
    if (t > 0) h[key.length - t] = c[key.reach - 1 + t];
  }
  const at::Tensor circle = host.to(layer_.device);
  device_->Transform(circle, /*inverse=*/false);
  const at::Tensor spectrum = circle.view({key.length})
                                  .mul_(1.0 / static_cast<double>(key.length))
                                  .to(at::toComplexType(key.type));
  device_->Synchronize();  // other streams read it next
  return spectrum;
}

int64_t FftSpectra::bytes() const {
  MutexLock lock(&mutex_);
  return spectra_.cost();
}

}  // namespace longwave
