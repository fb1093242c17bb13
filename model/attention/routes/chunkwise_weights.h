#ifndef LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_WEIGHTS_H_
#define LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/toeplitz_weights.h"

namespace longwave {

// One side of c beyond the band, as blocks of B tokens use it. With W band blocks, query row a of
// block I and key row b of block J = I - W - 1 - g (before) are (W + 1 + g) B + a - b apart, so
//   c = A lambda^(W B + a + 1) * (lambda^B)^g * lambda^(B - 1 - b):
// a factor of the query's row, a decay from block to block, a factor of the key's row, none of
// which grows. After the query the same with a and b counted from the other end.
struct ChunkwiseSide {
  bool present = false;
  bool constant = true;             // lambda = 1 in every head: scale is all there is
  std::vector<double> scale;        // [heads] A lambda^(W B + 1)
  std::vector<double> block_decay;  // [heads] lambda^B
  at::Tensor key_rows;              // [heads, B, 1]
  at::Tensor query_rows;            // [heads, B, 1], in reversed token order
};

// The weights of some heads of one layer as the chunkwise route takes them, in one precision on one
// device.
struct ChunkwiseWeights {
  int64_t band_blocks = 0;  // W
  at::Tensor band;          // [heads, 2 (W + 1) B - 1]: c(o) from o = -((W + 1) B - 1) on
  ChunkwiseSide before;
  ChunkwiseSide after;
};

// Precondition: all of `heads` have tails.
ChunkwiseWeights MakeChunkwiseWeights(const ToeplitzWeights& weights,
                                      const std::vector<int64_t>& heads,
                                      const at::TensorOptions& options);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_ROUTES_CHUNKWISE_WEIGHTS_H_
