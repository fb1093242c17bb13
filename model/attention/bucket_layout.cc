#include "model/attention/bucket_layout.h"

namespace longwave {
namespace {

// What the prefix sums of one head may take beside its keys and values, and at any length.
constexpr double kPrefixShare = 0.75;
constexpr int64_t kPrefixBytes = int64_t{64} << 20;
// Blocks that the means are taken over.
constexpr int64_t kSampledBlocks = 16;

}  // namespace

BucketLayout::BucketLayout(const HeadStructure& head, bool causal, int64_t n, int64_t key_bytes,
                           int64_t state_bytes)
    : before_(head.before.runs), after_(head.after.runs), causal_(causal), n_(n) {
  const int64_t share = static_cast<int64_t>(kPrefixShare * static_cast<double>(n * key_bytes));
  const int64_t most = std::max(kPrefixBytes, share);
  while (stride_ < kSegmentTokens && n / stride_ * state_bytes > most) stride_ *= 2;
  Measure();
}

void BucketLayout::Measure() {
  const int64_t sampled = std::min(blocks(), kSampledBlocks);
  for (int64_t s = 0; s < sampled; ++s) {
    const int64_t block = (2 * s + 1) * blocks() / (2 * sampled);
    Visit(
        block,
        [&](const Keys& keys) {
          tile_keys_ += static_cast<double>(keys.end - keys.begin) / static_cast<double>(sampled);
        },
        [&](const Keys&, double) { sums_ += 1 / static_cast<double>(sampled); });
  }
}

}  // namespace longwave
