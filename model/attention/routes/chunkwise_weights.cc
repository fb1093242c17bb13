#include "model/attention/routes/chunkwise_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "model/attention/route_planner.h"

namespace longwave {
namespace {

constexpr int64_t kRows = kBlockTokens;

// rows[h, r] = exp(ratio of h * exponent(r)), [heads, B, 1].
template <typename Exponent>
at::Tensor PowersOfRatio(const std::vector<ToeplitzTail>& tails, Exponent exponent,
                         const at::TensorOptions& options) {
  const int64_t heads = static_cast<int64_t>(tails.size());
  at::Tensor rows = at::empty({heads, kRows, 1}, at::kDouble);
  double* row = rows.data_ptr<double>();
  for (const ToeplitzTail& tail : tails) {
    for (int64_t r = 0; r < kRows; ++r) *row++ = exponent(tail, r);
  }
  return rows.exp_().to(options);
}

// `band_tokens`: W B. `before`: the side of the keys before the query.
ChunkwiseSide MakeSide(const std::vector<ToeplitzTail>& tails, int64_t band_tokens, bool before,
                       const at::TensorOptions& options) {
  ChunkwiseSide side;
  for (const ToeplitzTail& tail : tails) {
    side.present = side.present || !tail.absent;
    side.constant = side.constant && tail.log_ratio == 0;
    side.scale.push_back(std::exp(tail.log_scale + tail.log_ratio * (band_tokens + 1)));
    side.block_decay.push_back(std::exp(tail.log_ratio * kRows));
  }
  side.key_rows = PowersOfRatio(
      tails,
      [&](const ToeplitzTail& tail, int64_t b) {
        return tail.log_ratio * (before ? kRows - 1 - b : b);
      },
      options);
  // Row r holds token a = B - 1 - r of its block, which is a + 1 tokens from the band's near edge
  // before it and B - a from the one after it.
  side.query_rows = PowersOfRatio(
      tails,
      [&](const ToeplitzTail& tail, int64_t r) {
        const int64_t distance = band_tokens + (before ? kRows - r : r + 1);
        return tail.log_scale + tail.log_ratio * distance;
      },
      options);
  return side;
}

}  // namespace

ChunkwiseWeights MakeChunkwiseWeights(const ToeplitzWeights& weights,
                                      const std::vector<int64_t>& heads,
                                      const at::TensorOptions& options) {
  ChunkwiseWeights result;
  for (const int64_t h : heads) {
    const int64_t band = weights.structure(static_cast<int>(h)).band();
    result.band_blocks = std::max(result.band_blocks, BandBlocks(band));
  }
  const int64_t reach = (result.band_blocks + 1) * kRows - 1;
  std::vector<at::Tensor> bands;
  std::vector<ToeplitzTail> before;
  std::vector<ToeplitzTail> after;
  for (const int64_t head : heads) {
    const int h = static_cast<int>(head);
    const std::vector<double> band = weights.Range(h, -reach, reach);
    bands.push_back(at::tensor(band, at::kDouble));
    before.push_back(weights.before(h));
    after.push_back(weights.after(h));
  }
  result.band = at::stack(bands).to(options);
  result.before = MakeSide(before, result.band_blocks * kRows, /*before=*/true, options);
  result.after = MakeSide(after, result.band_blocks * kRows, /*before=*/false, options);
  return result;
}

}  // namespace longwave
