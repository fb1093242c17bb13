#ifndef LONGWAVE_MODEL_TORCH_CSRC_FUSED_CALL_H_
#define LONGWAVE_MODEL_TORCH_CSRC_FUSED_CALL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "model/attention/fused_layer.h"
#include "model/attention/toeplitz_weights.h"
#include "model/torch/csrc/composed.h"
#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {

// One call as our own kernels take it: fp32 on the CPU, positive features of l2-normalised rows.
// What is made of b, W and slope anew for each call costs O(R + n) a head at most, and nothing of
// it depends on the other sequences of the batch.
class FusedCall {
 public:
  static bool Supports(const Problem& problem);
  // Precondition: Supports(problem). `problem` outlives the call.
  explicit FusedCall(const Problem& problem);
  FusedCall(const FusedCall&) = delete;  // the layer has a reference to the weights
  FusedCall& operator=(const FusedCall&) = delete;

  const Problem& problem() const { return problem_; }
  const ToeplitzWeights& weights() const { return weights_; }
  const std::shared_ptr<const FusedLayer>& layer() const { return layer_; }
  const std::vector<int64_t>& heads() const { return heads_; }
  // Valid tokens of one sequence.
  int64_t Length(int64_t sequence) const { return lengths_[sequence]; }

 private:
  const Problem& problem_;
  std::vector<int64_t> lengths_;
  std::vector<int64_t> heads_;
  const ToeplitzWeights weights_;
  std::shared_ptr<const FusedLayer> layer_;
};

// As ComposedForward and ComposedBackward. The forward pass is the server's own: routes/fused_* of
// model/attention. Rows of a sequence have the same bits whatever its mates and padding are.
Output FusedForward(const FusedCall& call);
// Parallel over batch and heads; memory beyond the gradients: a window of some 2 reach + 1000
// tokens a thread.
Gradients FusedBackward(const FusedCall& call, const Output& output, const at::Tensor& grad);

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_FUSED_CALL_H_
