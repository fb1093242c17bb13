#ifndef LONGWAVE_MODEL_ATTENTION_ROWS_H_
#define LONGWAVE_MODEL_ATTENTION_ROWS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace longwave {

// Rows of a sequence as the routes compute on them: [heads, padded, columns] contiguous in one
// precision, the rows beyond `count` zero. Source and target are [n, all heads, head_dim]. Blocks
// of our own make the bits independent of where in a batch the sequence lies.

// A run of tokens, padded to a whole number of rows.
struct RowRange {
  int64_t begin = 0;
  int64_t count = 0;
  int64_t padded = 0;
};

// Padded to the next multiple of 32 rows: whole vectors in every element-wise operation.
RowRange PaddedRange(int64_t begin, int64_t end);

at::Tensor GatherRows(const at::Tensor& source, const std::vector<int64_t>& heads, RowRange range,
                      at::ScalarType type);
// Row r of the range at padded - 1 - r. A tile with its queries in reverse order reads c along
// c[row + column]: a Hankel matrix, which is a view of the vector c, as the Toeplitz matrix in
// token order is not (tensors have no negative strides).
at::Tensor GatherReversed(const at::Tensor& source, const std::vector<int64_t>& heads,
                          RowRange range, at::ScalarType type);
// [v | 1]: one more column of ones, zero in the padding. It sums the denominator beside the
// numerator.
at::Tensor GatherValues(const at::Tensor& source, const std::vector<int64_t>& heads, RowRange range,
                        at::ScalarType type);
// Sets the rows of phi(k) beyond the range to zero.
void ZeroPadding(at::Tensor& rows, RowRange range);
// Writes z, [heads, count, head_dim], to the range's rows.
void ScatterRows(const at::Tensor& z, const std::vector<int64_t>& heads, RowRange range,
                 const at::Tensor& target);
// Writes z, [heads, padded, head_dim] in reversed order, to the range's rows.
void ScatterReversed(const at::Tensor& z, const std::vector<int64_t>& heads, RowRange range,
                     const at::Tensor& target);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROWS_H_
