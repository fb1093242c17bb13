#include "model/torch/csrc/problem.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

namespace longwave::torch_ops {
namespace {

FeatureKind ParseFeatures(absl::string_view name) {
  if (name == "prf") return FeatureKind::kPrf;
  if (name == "sphere") return FeatureKind::kSphere;
  if (name == "trf") return FeatureKind::kTrf;
  if (name == "elu") return FeatureKind::kElu;
  TORCH_CHECK_VALUE(false, "features is \"", std::string(name),
                    "\", not one of \"prf\", \"sphere\", \"trf\", \"elu\"");
}

void CheckRows(const char* name, const at::Tensor& rows, const at::Tensor& q) {
  TORCH_CHECK_VALUE(rows.sizes() == q.sizes(), name, " is ", rows.sizes(), ", expected q's shape ",
                    q.sizes());
  TORCH_CHECK_TYPE(rows.scalar_type() == q.scalar_type(), name, " is ", rows.scalar_type(),
                   ", expected q's type ", q.scalar_type());
  TORCH_CHECK_VALUE(rows.device() == q.device(), name, " is on ", rows.device(),
                    ", expected q's device ", q.device());
}

void CheckQueries(const at::Tensor& q) {
  TORCH_CHECK_VALUE(q.dim() == 4, "q is ", q.sizes(), ", expected [batch, n, heads, head_dim]");
  TORCH_CHECK_TYPE(q.scalar_type() == at::kFloat || q.scalar_type() == at::kDouble, "q is ",
                   q.scalar_type(), ", expected float32 or float64");
  TORCH_CHECK_VALUE(q.size(2) > 0 && q.size(3) > 0, "q is ", q.sizes(),
                    ", expected at least one head of at least one column");
}

// Constants of the call: of q's type, on its device.
at::Tensor Like(const char* name, const at::Tensor& given, const at::Tensor& q) {
  TORCH_CHECK_VALUE(given.device() == q.device(), name, " is on ", given.device(),
                    ", expected q's device ", q.device());
  TORCH_CHECK_TYPE(given.scalar_type() == q.scalar_type(), name, " is ", given.scalar_type(),
                   ", expected q's type ", q.scalar_type());
  return given;
}

void SetProjection(const Arguments& arguments, Problem& problem) {
  const bool wanted = problem.kind != FeatureKind::kElu;
  TORCH_CHECK_VALUE(arguments.projection.has_value() == wanted, "projection is ",
                    wanted ? "None" : "given", ", and features \"", std::string(arguments.features),
                    wanted ? "\" needs one" : "\" has none");
  if (!wanted) return;
  const at::Tensor& w = *arguments.projection;
  TORCH_CHECK_VALUE(w.dim() == 3 && w.size(0) == problem.heads() && w.size(1) > 0 &&
                        w.size(2) == problem.head_dim(),
                    "projection is ", w.sizes(), ", expected [heads, m, head_dim] = [",
                    problem.heads(), ", m, ", problem.head_dim(), "] with m >= 1");
  problem.projection = Like("projection", w, problem.q).contiguous();
}

void SetBias(const Arguments& arguments, Problem& problem) {
  const at::Tensor& near = arguments.near;
  TORCH_CHECK_VALUE(near.dim() == 2 && near.size(0) == problem.heads() && near.size(1) % 2 == 1,
                    "near is ", near.sizes(), ", expected [heads, 2 R + 1] = [", problem.heads(),
                    ", an odd number]");
  problem.near = Like("near", near, problem.q).contiguous();
  if (!arguments.slope.has_value()) return;
  const at::Tensor& slope = *arguments.slope;
  TORCH_CHECK_VALUE(slope.dim() == 1 && slope.size(0) == problem.heads(), "slope is ",
                    slope.sizes(), ", expected [heads] = [", problem.heads(), "]");
  problem.slope = Like("slope", slope, problem.q).contiguous();
  if (!slope.device().is_cpu()) return;  // reading it would stall the device
  const double least = slope.min().item<double>();
  TORCH_CHECK_VALUE(least >= 0 && std::isfinite(least), "slope has the value ", least,
                    ", expected finite numbers >= 0: beyond near the bias falls");
}

void SetLengths(const Arguments& arguments, Problem& problem) {
  if (!arguments.lengths.has_value()) return;
  const at::Tensor& lengths = *arguments.lengths;
  TORCH_CHECK_VALUE(lengths.dim() == 1 && lengths.size(0) == problem.batch(), "lengths is ",
                    lengths.sizes(), ", expected [batch] = [", problem.batch(), "]");
  TORCH_CHECK_TYPE(lengths.scalar_type() == at::kLong, "lengths is ", lengths.scalar_type(),
                   ", expected int64");
  problem.lengths = lengths.contiguous();
  if (!lengths.device().is_cpu() || lengths.numel() == 0) {
    problem.lengths = problem.lengths.to(problem.q.device());
    return;
  }
  const int64_t least = lengths.min().item<int64_t>();
  const int64_t most = lengths.max().item<int64_t>();
  TORCH_CHECK_VALUE(least >= 0 && most <= problem.tokens(), "lengths has the value ",
                    least < 0 ? least : most, ", expected 0 to n = ", problem.tokens());
  problem.lengths = problem.lengths.to(problem.q.device());
}

}  // namespace

int64_t Problem::features() const {
  if (kind == FeatureKind::kElu) return head_dim();
  return projection.size(1) * (kind == FeatureKind::kTrf ? 2 : 1);
}

Problem MakeProblem(const Arguments& arguments) {
  CheckQueries(arguments.q);
  CheckRows("k", arguments.k, arguments.q);
  CheckRows("v", arguments.v, arguments.q);
  TORCH_CHECK_VALUE(std::isfinite(arguments.scale) && arguments.scale > 0, "scale is ",
                    arguments.scale, ", expected a finite number > 0");
  Problem problem = {.q = arguments.q,
                     .k = arguments.k,
                     .v = arguments.v,
                     .kind = ParseFeatures(arguments.features),
                     .qk_norm = arguments.qk_norm,
                     .scale = arguments.scale,
                     .causal = arguments.causal};
  SetProjection(arguments, problem);
  SetBias(arguments, problem);
  SetLengths(arguments, problem);
  return problem;
}

}  // namespace longwave::torch_ops
