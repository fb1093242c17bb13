#ifndef LONGWAVE_MODEL_REFERENCE_ATTENTION_H_
#define LONGWAVE_MODEL_REFERENCE_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "model/weights/model_config.h"

namespace longwave {

// One head of one sequence, row-major doubles.
struct ReferenceHead {
  int64_t tokens = 0;                   // n
  int64_t head_dim = 0;                 // d
  absl::Span<const double> q;           // [n, d], raw projections
  absl::Span<const double> k;           // [n, d]
  absl::Span<const double> v;           // [n, d]
  absl::Span<const double> projection;  // [num_features, d]; empty for kElu and kSoftmax
};

// Rows of the attention, with what tells whether a row means anything: a signed feature map may
// have terms that cancel (design: degenerate where |denominator| < 2^-20 * magnitude).
struct ReferenceRows {
  std::vector<double> values;        // [rows, d]
  std::vector<double> denominators;  // [rows]: sum over j of c(j - i) phi(q_i) . phi(k_j)
  std::vector<double> magnitudes;    // [rows]: the same sum over the absolute values of its terms
};

// Rows [first_row, end_row) of
//   z_i = sum_j w_ij v_j / sum_j w_ij,   w_ij = c(j - i) phi(q_i) . phi(k_j)
// over all j (j <= i if causal), in double, in O(rows * n): the definition that every fast route is
// measured against. `bias` is b(j - i) of this head, called for offsets within (-n, n);
// c = exp(b - max b), the maximum over the row. kSoftmax: w_ij = c(j - i) exp(x_i . x_j) with x as
// below.
//
// phi of x (x = scale * q / |q|, 0 where |q| = 0; without qk_norm x = q d^(-1/4)):
//   kPrf, kSphere   exp(W x - |x|^2 / 2) / sqrt(m)
//   kTrf            exp(|x|^2 / 2) / sqrt(m) [sin(W x), cos(W x)]
//   kElu            elu(x) + 1
// Without qk_norm, exponents are lowered by the row's maximum for queries and by the maximum over
// all keys for keys, which changes no row. Precondition: sizes as above, 0 <= first_row <= end_row
// <= n.
ReferenceRows ReferenceAttention(const ReferenceHead& head, const AttentionConfig& config,
                                 absl::FunctionRef<double(int64_t offset)> bias, int64_t first_row,
                                 int64_t end_row);
// The same for these rows, in their order: the keys' features are formed once for all of them.
ReferenceRows ReferenceAttention(const ReferenceHead& head, const AttentionConfig& config,
                                 absl::FunctionRef<double(int64_t offset)> bias,
                                 absl::Span<const int64_t> rows);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_REFERENCE_ATTENTION_H_
