#ifndef LONGWAVE_MODEL_TORCH_CSRC_BLOCK_WEIGHTS_H_
#define LONGWAVE_MODEL_TORCH_CSRC_BLOCK_WEIGHTS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {

inline constexpr int64_t kBlock = 128;  // tokens in a block of the composed form

// One side of c beyond the band of blocks: with x and y the places of query and key in their
// blocks, `between` the blocks between the band and the key's,
//   c = query[x] decay^between key[y]
// and no factor exceeds the largest c. Undefined tensors where c is zero there.
struct FarSide {
  at::Tensor query;  // [heads, kBlock, 1]
  at::Tensor key;    // [heads, kBlock, 1]
  at::Tensor decay;  // [heads, 1, 1]
  bool present() const { return query.defined(); }
};

// c(o) = exp(b(o) - max b) of one call, cut for blocks of kBlock tokens: C between blocks up to
// `band` apart, and what lies beyond.
class BlockWeights {
 public:
  explicit BlockWeights(const Problem& problem);

  // c(-o): C transposed.
  BlockWeights Transposed() const;

  int64_t band() const { return band_; }
  // Whether c is zero for keys after (before) the query.
  bool blind_after() const { return blind_after_; }
  bool blind_before() const { return blind_before_; }
  // C between the queries of a block and the keys of the block `shift` further on, [heads, kBlock,
  // kBlock].
  at::Tensor Tile(int64_t shift) const;
  const FarSide& before() const { return before_; }
  const FarSide& after() const { return after_; }

  // Adds what one shift gives of the derivative by b: `sums` [heads, kBlock, kBlock] are the
  // derivatives by C o Tile(shift) summed over all pairs of blocks.
  void AddBiasGrad(int64_t shift, const at::Tensor& sums, at::Tensor& by_offset) const;
  // Of the band's offsets, [heads, 2 (band + 1) kBlock - 1], zeros.
  at::Tensor MakeBiasGrad() const;
  // Folded to near's: what lies beyond R on a side belongs to its last entry, as do the sums
  // `before` and `after` [heads] over all that lies beyond the band.
  at::Tensor FoldBiasGrad(const at::Tensor& by_offset, const at::Tensor& before,
                          const at::Tensor& after, int64_t reach) const;

 private:
  BlockWeights() = default;

  int64_t band_ = 0;
  bool blind_after_ = false;
  bool blind_before_ = false;
  at::Tensor table_;  // c(o) for |o| < (band + 1) kBlock
  at::Tensor index_;  // [kBlock, kBlock]: key's place minus query's, plus kBlock - 1
  FarSide before_;
  FarSide after_;
};

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_BLOCK_WEIGHTS_H_
