#include "model/attention/routes/tile.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace longwave {
namespace {

// The part of a tile that one product takes.
TileOperands KeyRun(const TileOperands& tile, int64_t first) {
  const int64_t count = std::min(kTileKeys, tile.keys.size(0) - first);
  return {.queries = tile.queries,
          .keys = tile.keys.narrow(0, first, count),
          .values = tile.values.narrow(0, first, count),
          .weights = tile.weights.narrow(0, first, tile.queries.size(0) + count - 1)};
}

// weights[r + j] as a matrix.
at::Tensor Hankel(const TileOperands& run) {
  return run.weights.as_strided({run.queries.size(0), run.keys.size(0)}, {1, 1});
}

template <typename Body>
void ForKeyRuns(const TileOperands& tile, const TileScratch& scratch, Body body) {
  for (int64_t first = 0; first < tile.keys.size(0); first += kTileKeys) {
    const TileOperands run = KeyRun(tile, first);
    at::Tensor scores = scratch.Scores(run.queries.size(0), run.keys.size(0));
    body(run, scores, first);
  }
}

// sums += scores [v | 1].
void AccumulateProducts(const at::Tensor& scores, const at::Tensor& values, at::Tensor& sums) {
  const int64_t d = values.size(1) - 1;
  sums.narrow(1, 0, d).addmm_(scores, values.narrow(1, 0, d));
  sums.select(1, d).add_(at::sum(scores, {1}));
}

}  // namespace

TileScratch::TileScratch(int64_t rows, const at::TensorOptions& options)
    : buffer_(at::empty({rows * kTileKeys}, options)) {}

at::Tensor TileScratch::Scores(int64_t rows, int64_t keys) const {
  return buffer_.narrow(0, 0, rows * keys).view({rows, keys});
}

void AccumulateTile(const TileOperands& tile, const TileScratch& scratch, at::Tensor sums) {
  ForKeyRuns(tile, scratch, [&](const TileOperands& run, at::Tensor& scores, int64_t) {
    at::mm_out(scores, run.queries, run.keys.t());
    scores.mul_(Hankel(run));
    AccumulateProducts(scores, run.values, sums);
  });
}

void AccumulateMagnitudes(const TileOperands& tile, const TileScratch& scratch,
                          at::Tensor magnitudes) {
  ForKeyRuns(tile, scratch, [&](const TileOperands& run, at::Tensor& scores, int64_t) {
    at::mm_out(scores, run.queries.abs(), run.keys.abs().t());
    magnitudes.add_(at::sum(scores.mul_(Hankel(run)), {1}));
  });
}

void AccumulateSoftmaxTile(const TileOperands& tile, int64_t present, const TileScratch& scratch,
                           at::Tensor maxima, at::Tensor sums) {
  ForKeyRuns(tile, scratch, [&](const TileOperands& run, at::Tensor& scores, int64_t first) {
    const int64_t keys = run.keys.size(0);
    const int64_t visible = std::clamp<int64_t>(present - first, 0, keys);
    at::mm_out(scores, run.queries, run.keys.t());
    scores.add_(Hankel(run));
    scores.narrow(1, visible, keys - visible).fill_(-std::numeric_limits<double>::infinity());
    const at::Tensor highest = at::maximum(maxima, at::amax(scores, {1}, /*keepdim=*/true));
    sums.mul_(at::exp(maxima - highest));
    maxima.copy_(highest);
    AccumulateProducts(scores.sub_(highest).exp_(), run.values, sums);
  });
}

at::Tensor Quotient(const at::Tensor& sums) {
  const int64_t d = sums.size(-1) - 1;
  return sums.narrow(-1, 0, d) / sums.narrow(-1, d, 1);
}

}  // namespace longwave
