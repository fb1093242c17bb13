#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_EXACT_ROWS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_EXACT_ROWS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/types/span.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Outputs of a few rows of one head without transforms, as tiles form them, in double whatever the
// context's precision: O(n) a row. `head` counts in context.heads. c: c(o) of that head for o = 1 -
// n .. n - 1. `key_maximum`: KeyMaximum::Value() of the head, undefined if the features need none.
// Writes those rows of context.out and reads no other query. Returns how many of them hold a number
// that is not finite. Precondition: positive features.
int64_t ComputeExactRows(const RouteContext& context, int64_t head, absl::Span<const int64_t> rows,
                         absl::Span<const double> c, const at::Tensor& key_maximum);
// How many rows of z [..., head_dim] hold a number that is not finite.
int64_t NonFiniteRows(const at::Tensor& z);
// Operations of a call.
double ExactRowsFlops(const AttentionShape& shape, int64_t rows, int64_t n);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_EXACT_ROWS_H_
