#ifndef LONGWAVE_MODEL_KERNELS_CPU_KERNELS_H_
#define LONGWAVE_MODEL_KERNELS_CPU_KERNELS_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "model/kernels/cpu/fft_kernels.h"

// The arithmetic of kernelised attention on blocks that stay in the first and second level caches,
// in fp32. One source, compiled for every instruction set; layouts are the same for all of them.
// Symbols are those of model/README.md; everything here is of one head.
//
// Layouts (floats, rows contiguous, 64-byte aligned where a block begins):
//   phi(q)   [rows][PaddedColumns(m)], rows <= kRowBlock; columns beyond m hold finite numbers
//   phi(k)   [groups][m][kKeyGroup]: feature-major within a group of keys, zero for padding keys
//   v        [groups * kKeyGroup][PaddedColumns(d)], zero in padding rows and columns
//   state    [m][PaddedColumns(d)] sums of phi(k) v^T, then [PaddedColumns(m)] sums of phi(k)
//   sums     [rows][PaddedColumns(d)] numerators
//   weights  of one row: [kKeyGroup] partial denominators, whose sum is the denominator
namespace longwave::cpu {

inline constexpr int64_t kRowBlock = 48;   // divides into 6, 8 and 12 rows, the heights of panels
inline constexpr int64_t kKeyGroup = 16;   // one AVX-512 register, two AVX2, four of 128 bits
inline constexpr int64_t kColumnPad = 16;  // likewise

constexpr int64_t RoundUp(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}
constexpr int64_t PaddedColumns(int64_t columns) { return RoundUp(columns, kColumnPad); }
constexpr int64_t KeyGroups(int64_t keys) { return (keys + kKeyGroup - 1) / kKeyGroup; }
constexpr int64_t StateFloats(int64_t features, int64_t head_dim) {
  return features * PaddedColumns(head_dim) + PaddedColumns(features);
}

// Rows of one head inside [tokens, all heads, head_dim]: row i begins at data + i * stride.
struct StridedRows {
  const float* data = nullptr;
  int64_t stride = 0;  // floats
};

// phi of one head, for l2-normalised rows: x^ = scale x / |x|, and x^ = 0 where |x| = 0.
struct HeadFeatures {
  // kExponential: exp(W x^ - |x^|^2 / 2) / sqrt(m). kElu: elu(x^) + 1, m = d.
  enum class Kind { kExponential, kElu };
  Kind kind = Kind::kExponential;
  int64_t head_dim = 0;  // d
  int64_t features = 0;  // m
  float scale = 1;
  float log_norm = 0;                 // log sqrt(m)
  const float* projection = nullptr;  // W, [m][d]
  const float* transposed = nullptr;  // W^T, [d][PaddedColumns(m)], zero padded
  const float* padded = nullptr;      // W, [m][PaddedColumns(d)], zero padded: gradients only
};

// Floats of scratch that the two feature kernels need.
constexpr int64_t FeatureScratchFloats(int64_t head_dim) {
  return 2 * kRowBlock * PaddedColumns(head_dim);
}

constexpr int64_t ProductScratchFloats(int64_t depth) { return depth * 4 * kColumnPad; }

// Shapes of one head.
struct HeadShape {
  int64_t features = 0;  // m
  int64_t head_dim = 0;  // d
};

// A block of queries against a run of keys.
struct Tile {
  int64_t rows = 0;                // <= kRowBlock
  int64_t groups = 0;              // of keys
  const float* queries = nullptr;  // phi(q)
  const float* keys = nullptr;     // phi(k)
  const float* values = nullptr;
  // c of (row a, key b) is weights[b - a]: readable from 1 - rows to groups * kKeyGroup - 1.
  const float* weights = nullptr;
};

// The same with what the derivatives of its sums need. With g the derivative by the output z and D
// the denominator of a row, g~ = [g / D | -(g . z) / D], the derivative by the weight of (row a,
// key b) is g~_a . [v_b | 1].
struct GradientTile {
  int64_t rows = 0;                  // <= kRowBlock
  int64_t groups = 0;                // of keys
  const float* queries = nullptr;    // phi(q)
  const float* row_grads = nullptr;  // g~, [rows][PaddedColumns(d + 1)]
  const float* out_grads = nullptr;  // g / D, [rows][PaddedColumns(d)], zero in padding columns
  const float* keys = nullptr;       // phi(k)
  const float* key_rows = nullptr;   // phi(k) row by row, [keys][PaddedColumns(m)]
  const float* values = nullptr;     // [v | 1], [groups][d + 1][kKeyGroup]; zero for padding keys
  const float* weights = nullptr;    // c as in Tile
  float* query_sums = nullptr;       // by phi(q), [rows][PaddedColumns(m)]
  float* key_sums = nullptr;         // by phi(k), [keys][PaddedColumns(m)]
  float* value_sums = nullptr;       // by v, [keys][PaddedColumns(d)]
  // By b: that of (row a, key b) goes to diagonals[b - a], in the same range as weights.
  float* diagonals = nullptr;
};

// The kernels of one instruction set. Pure functions of their arguments: the bits of a row depend
// on nothing but that row's operands. Thread-safe.
struct Kernels {
  const char* name;  // "scalar", "sse4", "avx2", "avx512", "neon"

  // phi of `rows` <= kRowBlock query rows.
  void (*query_features)(const HeadFeatures& map, StridedRows rows, int64_t count, float* scratch,
                         float* phi);
  // phi of `count` keys in KeyGroups(count) groups; at most kRowBlock keys.
  void (*key_features)(const HeadFeatures& map, StridedRows rows, int64_t count, float* scratch,
                       float* phi);
  // Copies `count` rows of v, padding them to whole groups.
  void (*pack_values)(StridedRows rows, int64_t count, int64_t head_dim, float* values);

  // sums += (phi(q) phi(k)^T o C) v and the same with ones for v into `weights`. The products
  // stay in a block of registers and the first-level cache.
  void (*accumulate_tile)(const HeadShape& shape, const Tile& tile, float* sums, float* weights);
  // state = decay * state + sum over keys j of key_weights[j] phi(k_j) [v_j | 1]^T; key_weights may
  // be null for ones. At most kRowBlock keys a call.
  void (*accumulate_state)(const HeadShape& shape, int64_t groups, const float* keys,
                           const float* values, const float* key_weights, float decay,
                           float* state);
  // sums and weights += row_factors[a] phi(q_a)^T state; row_factors may be null for ones.
  void (*apply_state)(const HeadShape& shape, int64_t rows, const float* queries,
                      const float* state, const float* row_factors, float* sums, float* weights);
  // out = a b, row-major: a [rows][depth], b [depth][columns], rows `*_stride` floats apart; whole
  // groups of kColumnPad columns, b and out aligned to them. Scratch: ProductScratchFloats(depth).
  void (*multiply)(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t a_stride,
                   const float* b, int64_t b_stride, float* scratch, float* out,
                   int64_t out_stride);
  // out = a * x + b * y over `count` floats (whole groups of kColumnPad); out may be x or y.
  void (*combine)(int64_t count, float a, const float* x, float b, const float* y, float* out);
  // Writes sums / denominator to `count` rows of head_dim floats, `stride` floats apart. Returns
  // how many of the rows hold a number that is not finite or had a denominator that is not
  // positive.
  int64_t (*divide)(const HeadShape& shape, int64_t count, const float* sums, const float* weights,
                    float* out, int64_t stride);

  // Adds the derivatives of a tile to its five sums: the scores stay in the first-level cache.
  void (*accumulate_gradients)(const HeadShape& shape, const GradientTile& tile);
  // The derivative by `count` <= kRowBlock rows from those by phi, [rows][PaddedColumns(m)], which
  // are overwritten; phi as query_features has it. Rows of norm 0 have none: 0. Written to, or
  // added to, rows of head_dim floats `out_stride` apart. Scratch: FeatureScratchFloats(head_dim).
  void (*feature_gradients)(const HeadFeatures& map, StridedRows rows, int64_t count,
                            const float* phi, float* phi_grads, float* scratch, float* out,
                            int64_t out_stride, bool add);
  // Lays `count` rows of `columns` floats, `stride` apart (whole groups of kColumnPad, aligned), as
  // phi(k) lies: [KeyGroups(count)][columns][kKeyGroup], zero where there is no row.
  void (*pack_columns)(const float* rows, int64_t stride, int64_t count, int64_t columns,
                       float* groups);

  // Of ToeplitzTransform.
  AllFftKernels transforms;
};

// The instruction sets that this machine runs, best first; never empty.
std::vector<const Kernels*> SupportedKernels();
// The one of this name; "auto": the best. Null if it is unknown or this machine does not run it.
const Kernels* FindKernels(absl::string_view name);

// Scratch memory of the calling thread, at least this many floats, 64-byte aligned, uninitialised.
// Valid until the thread's next call. It grows to the largest size asked for and stays, so that a
// request allocates nothing.
float* ThreadScratch(int64_t floats);

}  // namespace longwave::cpu

#endif  // LONGWAVE_MODEL_KERNELS_CPU_KERNELS_H_
