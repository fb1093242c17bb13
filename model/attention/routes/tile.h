#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_TILE_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_TILE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longwave {

// One head's query block against a run of keys.
struct TileOperands {
  at::Tensor queries;  // phi(q), [rows, features], tokens in reverse order (rows.h)
  at::Tensor keys;     // phi(k), [keys, features], zero in the padding
  at::Tensor values;   // [v | 1], [keys, head_dim + 1], zero in the padding
  at::Tensor weights;  // [rows + keys - 1]: row r and key j have weights[r + j]
};

// The products of the tiles of one piece, reused from tile to tile.
class TileScratch {
 public:
  TileScratch(int64_t rows, const at::TensorOptions& options);
  at::Tensor Scores(int64_t rows, int64_t keys) const;

 private:
  at::Tensor buffer_;
};

// Keys that are multiplied at once: the scores of 128 rows stay in a second-level cache.
inline constexpr int64_t kTileKeys = 512;

// sums [rows, head_dim + 1] += (phi(q) phi(k)^T o C) [v | 1]. The last column is summed from the
// same rounded scores as the others: a product with head_dim columns and a row sum take half the
// time of a product with one column more (AVX-512, 64 and 65 columns).
void AccumulateTile(const TileOperands& tile, const TileScratch& scratch, at::Tensor sums);

// magnitudes [rows] += (|phi(q)| |phi(k)|^T o C) 1: what a signed map's denominator is compared
// with.
void AccumulateMagnitudes(const TileOperands& tile, const TileScratch& scratch,
                          at::Tensor magnitudes);

// Exact softmax, keys run by run: `tile.queries` and `tile.keys` are x^, `tile.weights` log c;
// columns from `present` on are padding. `maxima` [rows, 1] is the largest exponent so far, minus
// infinity at first; sums are kept relative to it.
void AccumulateSoftmaxTile(const TileOperands& tile, int64_t present, const TileScratch& scratch,
                           at::Tensor maxima, at::Tensor sums);

// z = sums[:, :d] / sums[:, d] for [..., rows, d + 1].
at::Tensor Quotient(const at::Tensor& sums);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_TILE_H_
