#include "model/torch/csrc/block_weights.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace longwave::torch_ops {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// b of one side beyond R: `edge` at R, falling by `slope`.
FarSide MakeSide(const at::Tensor& edge, const at::Tensor& slope, const at::Tensor& peak,
                 int64_t nearest, int64_t reach, bool before) {
  // A key before the query lies x + (kBlock - 1 - y) + nearest tokens off, one after it the mirror
  // image.
  const at::Tensor up = at::arange(kBlock, edge.options()).view({1, kBlock, 1});
  const at::Tensor down = (kBlock - 1) - up;
  const at::Tensor fall = slope.view({-1, 1, 1});
  const at::Tensor start =
      (edge - peak).view({-1, 1, 1}) - fall * static_cast<double>(nearest - reach);
  return {.query = (start - fall * (before ? up : down)).exp(),
          .key = (-fall * (before ? down : up)).exp(),
          .decay = (-fall * static_cast<double>(kBlock)).exp()};
}

}  // namespace

BlockWeights::BlockWeights(const Problem& problem) {
  const int64_t n = std::max<int64_t>(problem.tokens(), 1);
  const int64_t reach = std::min(problem.reach(), n - 1);
  const int64_t blocks = CeilDiv(n, kBlock);
  const at::Tensor near =
      problem.near.detach().slice(1, problem.reach() - reach, problem.reach() + reach + 1);
  const at::Tensor slope = problem.slope.defined() ? problem.slope.detach()
                                                   : at::zeros({problem.heads()}, near.options());
  band_ = std::min(CeilDiv(reach, kBlock), blocks - 1);
  blind_after_ = problem.causal;

  const int64_t edge = (band_ + 1) * kBlock - 1;
  const at::Tensor offsets = at::arange(-edge, edge + 1, near.options().dtype(at::kLong));
  const at::Tensor inside = offsets.clamp(-reach, reach);
  at::Tensor b = near.index_select(1, inside + reach) -
                 slope.unsqueeze(1) * (offsets.abs() - inside.abs()).to(near.scalar_type());
  if (problem.causal) b = b.masked_fill(offsets > 0, kMinusInfinity);
  const at::Tensor peak = b.amax({1});
  table_ = (b - peak.unsqueeze(1)).exp();
  const at::Tensor places = at::arange(kBlock, offsets.options());
  index_ = places.unsqueeze(0) - places.unsqueeze(1) + (kBlock - 1);
  if (band_ == blocks - 1) return;  // nothing lies beyond
  const int64_t nearest = band_ * kBlock + 1;
  before_ = MakeSide(near.select(1, 0), slope, peak, nearest, reach, /*before=*/true);
  if (!problem.causal) {
    after_ = MakeSide(near.select(1, 2 * reach), slope, peak, nearest, reach, /*before=*/false);
  }
}

BlockWeights BlockWeights::Transposed() const {
  BlockWeights transposed;
  transposed.band_ = band_;
  transposed.blind_after_ = blind_before_;
  transposed.blind_before_ = blind_after_;
  transposed.table_ = table_.flip({1});
  transposed.index_ = index_;
  // What is the query's factor here is the key's there.
  const auto swap = [](const FarSide& side) {
    return FarSide{.query = side.key, .key = side.query, .decay = side.decay};
  };
  transposed.before_ = swap(after_);
  transposed.after_ = swap(before_);
  return transposed;
}

at::Tensor BlockWeights::Tile(int64_t shift) const {
  const at::Tensor window =
      table_.slice(1, (band_ + shift) * kBlock, (band_ + shift + 2) * kBlock - 1);
  return window.index_select(1, index_.flatten()).view({-1, kBlock, kBlock});
}

at::Tensor BlockWeights::MakeBiasGrad() const { return at::zeros_like(table_); }

void BlockWeights::AddBiasGrad(int64_t shift, const at::Tensor& sums, at::Tensor& by_offset) const {
  // Rows in reverse, each one place further than the one before: diagonals become columns.
  const int64_t heads = sums.size(0);
  const int64_t width = 2 * kBlock - 1;
  const at::Tensor weighted = (sums * Tile(shift)).flip({1});
  const at::Tensor skewed = at::constant_pad_nd(weighted, {0, kBlock})
                                .view({heads, 2 * kBlock * kBlock})
                                .slice(1, 0, kBlock * width)
                                .reshape({heads, kBlock, width});
  by_offset.slice(1, (band_ + shift) * kBlock, (band_ + shift) * kBlock + width)
      .add_(skewed.sum(1));
}

at::Tensor BlockWeights::FoldBiasGrad(const at::Tensor& by_offset, const at::Tensor& before,
                                      const at::Tensor& after, int64_t reach) const {
  const int64_t edge = by_offset.size(1) / 2;
  const int64_t inner = std::min(reach, edge);
  at::Tensor grad = at::zeros({by_offset.size(0), 2 * reach + 1}, by_offset.options());
  grad.slice(1, reach - inner, reach + inner + 1)
      .copy_(by_offset.slice(1, edge - inner, edge + inner + 1));
  grad.select(1, 0).add_(before + by_offset.slice(1, 0, edge - inner).sum(1));
  grad.select(1, 2 * reach).add_(after + by_offset.slice(1, edge + inner + 1).sum(1));
  return grad;
}

}  // namespace longwave::torch_ops
