#ifndef LONGWAVE_MODEL_TORCH_CSRC_ATTENTION_FORMS_H_
#define LONGWAVE_MODEL_TORCH_CSRC_ATTENTION_FORMS_H_

#include <ATen/core/Tensor.h>

#include "model/torch/csrc/composed.h"
#include "model/torch/csrc/problem.h"

namespace longwave::torch_ops {

// The operator and its derivative in whichever form the problem allows. The backward pass takes
// what the forward pass of an equal problem returned.
Output ComputeForward(const Problem& problem);
Gradients ComputeBackward(const Problem& problem, const Output& output, const at::Tensor& grad);

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_ATTENTION_FORMS_H_
