#ifndef LONGWAVE_MODEL_ATTENTION_FUSED_LAYER_H_
#define LONGWAVE_MODEL_ATTENTION_FUSED_LAYER_H_

#include <cstdint>
#include <vector>

#include "model/attention/route_planner.h"
#include "model/attention/toeplitz_weights.h"
#include "model/kernels/cpu/aligned_floats.h"
#include "model/kernels/cpu/kernels.h"

namespace longwave {

// One side of a head's c beyond the band, for blocks of cpu::kRowBlock queries whose band reaches
// `reach` tokens to each side. With lambda = exp(log_ratio) <= 1 and c(o) = A lambda^|o|, keys
// before the band give row a of a block
//   A lambda^(reach + a + 1) phi(q_a) F,   F = sum over j <= e of lambda^(e - j) phi(k_j) [v_j |
//   1]^T
// with e the last of them; keys after it the mirror image with lambda^(kRowBlock + reach - a). No
// power of lambda that grows.
struct FusedSide {
  bool present = false;
  bool constant = false;  // lambda = 1: `scale` is all there is
  float scale = 0;
  std::vector<float> row_factors;  // [kRowBlock]
  std::vector<float> key_weights;  // [kRowBlock], for a whole block of keys
  double log_ratio = 0;

  // lambda^tokens.
  float Decay(int64_t tokens) const;
};

// c of one head around and beyond the band.
struct FusedBand {
  std::vector<float> weights;  // c(o) from o = -(reach + kRowBlock - 1) on
  FusedSide before;
  FusedSide after;
  // Both sides sum the same numbers.
  bool shared_sums() const { return before.constant && after.constant; }
};

// The bands of some heads, cut alike: `reach` tokens to each side of a block, whole groups of keys,
// so that every key beyond is at least as far off as the tails of all of them begin.
struct FusedBands {
  int64_t reach = 0;
  std::vector<FusedBand> heads;
};

// `before`: as seen from queries that the keys lie before.
FusedSide MakeFusedSide(const ToeplitzTail& tail, int64_t reach, bool before);

// The bands with at least the given K. Precondition: the heads have tails.
FusedBands MakeFusedBands(const ToeplitzWeights& weights, const std::vector<int64_t>& heads,
                          int64_t least_band = 1);

// One layer of positive, l2-normalised features in fp32 on the CPU: the constants that the kernels
// read, in their layouts. Immutable; thread-safe.
class FusedLayer {
 public:
  // `projections`: W of each head, [m][d] row-major; empty for kElu. `weights` outlives the layer.
  FusedLayer(const AttentionShape& shape, double scale,
             const std::vector<std::vector<double>>& projections, const ToeplitzWeights& weights,
             const cpu::Kernels& kernels);

  // Whether a layer of this shape may be computed so, its arithmetic being fp32.
  static bool Supports(const AttentionShape& shape);

  const cpu::Kernels& kernels() const { return kernels_; }
  const cpu::HeadShape& shape() const { return shape_; }
  const ToeplitzWeights& weights() const { return weights_; }
  const cpu::HeadFeatures& features(int64_t head) const { return features_[head]; }
  // c(0) of one head; c(o) beside it for |o| < cached_tokens() + kRowBlock.
  const float* near(int64_t head) const {
    return near_[head].data() + cached_tokens_ + cpu::kRowBlock - 1;
  }
  // Longest sequence whose c is kept for tiles.
  int64_t cached_tokens() const { return cached_tokens_; }

  int64_t state_floats() const { return cpu::StateFloats(shape_.features, shape_.head_dim); }
  int64_t value_columns() const { return cpu::PaddedColumns(shape_.head_dim); }
  int64_t query_columns() const { return cpu::PaddedColumns(shape_.features); }

 private:
  const cpu::Kernels& kernels_;
  const cpu::HeadShape shape_;
  const ToeplitzWeights& weights_;
  const int64_t cached_tokens_;
  std::vector<cpu::AlignedFloats> projections_;  // W and W^T of each head
  std::vector<cpu::HeadFeatures> features_;
  std::vector<std::vector<float>> near_;
};

// c(o) of one head from o = first on, rounded to fp32.
std::vector<float> WeightsInFloat(const ToeplitzWeights& weights, int64_t head, int64_t first,
                                  int64_t last);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_FUSED_LAYER_H_
