#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_LAYOUT_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_LAYOUT_H_

#include <c10/core/ScalarType.h>

#include <cstdint>

#include "model/attention/route_planner.h"

namespace longwave {

// Offsets of one piece that computes c.
inline constexpr int64_t kFftOffsets = 65536;
// Flagged rows of one piece, at most: their products cost as much as forming all keys' features.
inline constexpr int64_t kFftExactRows = 32;

// How the transforms of a sequence are cut into pieces and what those cost: a function of shapes,
// arithmetic and length.
struct FftLayout {
  int64_t n = 0;
  int64_t length = 0;   // of the transforms
  int64_t columns = 0;  // head_dim + 1
  int64_t pairs = 0;    // of columns, the last one with an empty partner if they are odd
  int64_t heads_per_group = 0;
  int64_t features_per_group = 0;  // phi is kept for
  int64_t features_per_phase = 0;  // one piece runs through
  int64_t rows_per_piece = 0;
  double map_flops = 0;    // of one piece that forms features
  double moved_flops = 0;  // of one piece that gathers or scatters columns
  double pair_flops = 0;   // one feature, two columns
  double table_flops = 0;
  double weight_flops = 0;  // of one piece
  double kernel_flops = 0;  // of one half
  double exact_flops = 0;
  int64_t bytes = 0;

  int64_t row_pieces() const { return (n + rows_per_piece - 1) / rows_per_piece; }
  int64_t offset_pieces() const { return (2 * n - 2 + kFftOffsets) / kFftOffsets; }
};

FftLayout MakeFftLayout(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_LAYOUT_H_
