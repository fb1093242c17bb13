#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_

#include <cstdint>
#include <memory>

#include "model/attention/attention.h"
#include "model/attention/layer_state.h"

namespace longwave {

// Algorithm 1 of arXiv 2106.12566: for each feature r, C (phi(k)_r o [v | 1]) by real transforms of
// length L >= 2 n - 1, times phi(q)_r, summed over r in their order; numerator and denominator are
// columns of one product. On the tensors' device with LibTorch's transforms. O(n log n) for every
// bias; accurate relative to the largest row of C, so the caller chooses the precision by
// ToeplitzWeights::RowSumRatio. Memory is bounded by groups of heads and of features; n x m x d
// numbers are never there at once. Phases, for each group of heads: spectra of c, [v | 1], then for
// groups of features phi and products, each piece of which owns its output columns; quotients.
// Precondition: positive features.
std::unique_ptr<AttentionPass> MakeFftPass(RouteContext context);

// Of `heads` heads of the shape.
AttentionCost FftCost(const AttentionShape& shape, int64_t heads, int64_t n, at::ScalarType type);

// The smallest length of the form {4, 5, 6, 7} 2^k that is at least `length`: at worst 25 % longer,
// and fast in every library.
int64_t FastTransformLength(int64_t length);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_FFT_H_
