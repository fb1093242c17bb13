#include "tests/bench/softmax_encoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/encoder/compute_type.h"

namespace longwave {
namespace {

at::Tensor Stored(const ModelFolder& folder, const std::string& name) {
  const WeightTensor& stored = folder.weights.at(name);
  return at::tensor(at::ArrayRef<float>(stored.values), at::kFloat).reshape(stored.shape);
}

at::Tensor Ids(const std::vector<int32_t>& ids) {
  return at::from_blob(const_cast<int32_t*>(ids.data()), {static_cast<int64_t>(ids.size())},
                       at::kInt);
}

}  // namespace

SoftmaxTwin::SoftmaxTwin(const ModelFolder& folder, ComputePool* pool) : pool_(pool) {
  auto transformer = Transformer::Create(folder, at::kCPU, "cpu", ComputeType::kFp32);
  // The bench made the model itself.
  transformer_ = *std::move(transformer);
}

at::Tensor SoftmaxTwin::Encode(const std::vector<int32_t>& ids) {
  const int64_t n = static_cast<int64_t>(ids.size());
  const int64_t height = transformer_->tile_rows();
  const int64_t tiles = (n + height - 1) / height;
  const int64_t width = transformer_->heads_width();
  const int64_t heads = transformer_->config().num_heads;
  const int64_t d = transformer_->config().head_dim;
  at::Tensor padded_ids = at::zeros({tiles * height}, at::kInt);
  padded_ids.slice(0, 0, n).copy_(Ids(ids));
  const at::Tensor x = at::empty({tiles * height, transformer_->config().hidden_size}, at::kFloat);
  const at::Tensor qkv = at::empty({tiles * height, 3 * width}, at::kFloat);
  at::Tensor attended = at::zeros({tiles * height, width}, at::kFloat);
  const auto each_tile = [&](auto&& body) {
    pool_->ParallelFor(tiles, [&](int64_t tile, int) { body(tile * height); });
  };
  const auto rows = [&](const at::Tensor& t, int64_t first) { return t.narrow(0, first, height); };
  each_tile([&](int64_t first) {
    transformer_->embedding().Apply({.ids = rows(padded_ids, first)}, rows(x, first));
  });
  for (int l = 0; l < transformer_->layers(); ++l) {
    const TransformerLayer& layer = transformer_->layer(l);
    each_tile([&](int64_t first) { layer.ProjectQkv(rows(x, first), rows(qkv, first)); });
    const auto part = [&](int64_t i) {
      return qkv.narrow(0, 0, n).narrow(1, i * width, width).view({1, n, heads, d}).transpose(1, 2);
    };
    const at::Tensor q = part(0), k = part(1), v = part(2);
    const at::Tensor out = attended.narrow(0, 0, n).view({1, n, heads, d}).transpose(1, 2);
    pool_->ParallelFor(heads, [&](int64_t head, int) {
      const auto of = [&](const at::Tensor& t) { return t.narrow(1, head, 1).contiguous(); };
      out.narrow(1, head, 1).copy_(at::scaled_dot_product_attention(of(q), of(k), of(v)));
    });
    each_tile([&](int64_t first) { layer.Finish(rows(attended, first), rows(x, first)); });
  }
  each_tile([&](int64_t first) { transformer_->ApplyFinalNorm(rows(x, first)); });
  return x.narrow(0, 0, n).mean(0);
}

NnEncoder::NnEncoder(const ModelFolder& folder, Form form)
    : form_(form),
      heads_(folder.config.num_heads),
      eps_(folder.config.layer_norm_eps),
      embedding_(Stored(folder, "embeddings.token.weight")),
      norm_weight_(Stored(folder, "final_norm.weight")),
      norm_bias_(Stored(folder, "final_norm.bias")) {
  for (int64_t l = 0; l < folder.config.num_layers; ++l) {
    const std::string name = absl::StrCat("layers.", l, ".");
    const auto get = [&](const char* key) { return Stored(folder, absl::StrCat(name, key)); };
    const auto joined = [&](const char* suffix) {
      return at::cat({get(absl::StrCat("attention.query.", suffix).c_str()),
                      get(absl::StrCat("attention.key.", suffix).c_str()),
                      get(absl::StrCat("attention.value.", suffix).c_str())});
    };
    layers_.push_back({.norm1_weight = get("attention_norm.weight"),
                       .norm1_bias = get("attention_norm.bias"),
                       .qkv_weight = joined("weight"),
                       .qkv_bias = joined("bias"),
                       .output_weight = get("attention.output.weight"),
                       .output_bias = get("attention.output.bias"),
                       .norm2_weight = get("ffn_norm.weight"),
                       .norm2_bias = get("ffn_norm.bias"),
                       .up_weight = get("ffn.up.weight"),
                       .up_bias = get("ffn.up.bias"),
                       .down_weight = get("ffn.down.weight"),
                       .down_bias = get("ffn.down.bias")});
  }
}

at::Tensor NnEncoder::RunFused(const Layer& layer, const at::Tensor& x) const {
  return at::_transformer_encoder_layer_fwd(
      x, x.size(2), heads_, layer.qkv_weight, layer.qkv_bias, layer.output_weight,
      layer.output_bias, /*use_gelu=*/true, /*norm_first=*/true, eps_, layer.norm1_weight,
      layer.norm1_bias, layer.norm2_weight, layer.norm2_bias, layer.up_weight, layer.up_bias,
      layer.down_weight, layer.down_bias);
}

at::Tensor NnEncoder::RunSdpa(const Layer& layer, const at::Tensor& x) const {
  const int64_t n = x.size(1), width = x.size(2);
  const auto norm = [&](const at::Tensor& t, const at::Tensor& weight, const at::Tensor& bias) {
    return at::layer_norm(t, weight.sizes(), weight, bias, eps_);
  };
  const at::Tensor qkv =
      at::linear(norm(x, layer.norm1_weight, layer.norm1_bias), layer.qkv_weight, layer.qkv_bias)
          .view({1, n, 3, heads_, width / heads_})
          .permute({2, 0, 3, 1, 4});
  const at::Tensor attended = at::scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
                                  .transpose(1, 2)
                                  .reshape({1, n, width});
  const at::Tensor y = x + at::linear(attended, layer.output_weight, layer.output_bias);
  at::Tensor inner =
      at::linear(norm(y, layer.norm2_weight, layer.norm2_bias), layer.up_weight, layer.up_bias);
  at::gelu_(inner);
  return y + at::linear(inner, layer.down_weight, layer.down_bias);
}

at::Tensor NnEncoder::Encode(const std::vector<int32_t>& ids) const {
  at::Tensor x = at::index_select(embedding_, 0, Ids(ids)).unsqueeze(0);
  for (const Layer& layer : layers_) {
    x = form_ == Form::kFused ? RunFused(layer, x) : RunSdpa(layer, x);
  }
  return at::layer_norm(x, norm_weight_.sizes(), norm_weight_, norm_bias_, eps_).mean(1).squeeze(0);
}

}  // namespace longwave
