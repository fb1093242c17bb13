#ifndef LONGWAVE_MODEL_TORCH_CSRC_PROBLEM_H_
#define LONGWAVE_MODEL_TORCH_CSRC_PROBLEM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"
#include "model/weights/model_config.h"

namespace longwave::torch_ops {

// One call of the operator, checked. Symbols are those of model/README.md; o = j - i is key minus
// query.
struct Problem {
  at::Tensor q, k, v;     // [batch, n, heads, head_dim], one type (float, double) and device
  at::Tensor projection;  // [heads, m, head_dim] of that type; undefined for kElu
  at::Tensor near;        // [heads, 2 R + 1]: b(o) for o in [-R, R]
  at::Tensor slope;       // [heads] or undefined: what b falls by a token beyond R
  at::Tensor lengths;     // [batch] int64 or undefined: valid tokens of each sequence
  FeatureKind kind = FeatureKind::kPrf;
  bool qk_norm = true;
  double scale = 1;
  bool causal = false;

  int64_t batch() const { return q.size(0); }
  int64_t tokens() const { return q.size(1); }
  int64_t heads() const { return q.size(2); }
  int64_t head_dim() const { return q.size(3); }
  // R.
  int64_t reach() const { return near.size(1) / 2; }
  // Of phi.
  int64_t features() const;
};

// What the operators are given, as they are given it.
struct Arguments {
  const at::Tensor& q;
  const at::Tensor& k;
  const at::Tensor& v;
  const std::optional<at::Tensor>& projection;
  const at::Tensor& near;
  const std::optional<at::Tensor>& slope;
  const std::optional<at::Tensor>& lengths;
  absl::string_view features;
  bool qk_norm;
  double scale;
  bool causal;
};

// Throws c10::Error; the message names the argument, its value and what is accepted.
Problem MakeProblem(const Arguments& arguments);

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_PROBLEM_H_
