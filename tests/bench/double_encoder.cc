#include "tests/bench/double_encoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "model/reference/bias.h"

namespace longwave {
namespace {

// Beyond the neighbouring blocks every offset is larger than the band.
constexpr int64_t kBlock = 128;
// Blocks whose tiles exist at once.
constexpr int64_t kBlocksAtOnce = 256;
// Rows of the dense layers that exist at once.
constexpr int64_t kRowsAtOnce = 32768;

struct Layer {
  const ModelConfig& config;
  const WeightMap& weights;
  std::string name;

  at::Tensor Get(const std::string& key) const { return Named(absl::StrCat(name, key)); }
  at::Tensor Named(const std::string& key) const {
    const WeightTensor& stored = weights.at(key);
    return at::tensor(at::ArrayRef<float>(stored.values), at::kFloat)
        .reshape(stored.shape)
        .to(at::kDouble);
  }
  at::Tensor Norm(const at::Tensor& x, const std::string& key) const {
    const at::Tensor weight = Named(key + ".weight");
    return at::layer_norm(x, weight.sizes(), weight, Named(key + ".bias"), config.layer_norm_eps);
  }
  at::Tensor Linear(const at::Tensor& x, const std::string& key) const {
    return at::linear(x, Get(key + ".weight"), Get(key + ".bias"));
  }
};

// phi of unit rows: exp(W x - 1/2) / sqrt(m).
at::Tensor Features(const at::Tensor& x, const at::Tensor& projection) {
  const at::Tensor unit = x / x.norm(2, -1, true).clamp_min(1e-300);
  const double m = static_cast<double>(projection.size(0));
  return at::matmul(unit, projection.t()).sub_(0.5).exp_().div_(std::sqrt(m));
}

// c(o) for o = first .. last; relative to any constant, which cancels.
at::Tensor Weights(const Layer& layer, int64_t head, int64_t first, int64_t last) {
  at::Tensor c = at::empty({last - first + 1}, at::kDouble);
  for (int64_t o = first; o <= last; ++o) {
    c.data_ptr<double>()[o - first] =
        std::exp(ReferenceBias(layer.config, layer.weights, 0, head, o));
  }
  return c;
}

// Rows padded with zeros to whole blocks and by one block at each end.
at::Tensor Padded(const at::Tensor& x, int64_t blocks) {
  const int64_t after = (blocks + 1) * kBlock - x.size(0);
  return at::constant_pad_nd(x, {0, 0, kBlock, after});
}

// [n, d + 1]: numerators and denominators of all rows of one head.
at::Tensor AllRows(const Layer& layer, int64_t head, const at::Tensor& phi_q,
                   const at::Tensor& phi_k, const at::Tensor& values) {
  const int64_t n = phi_q.size(0), m = phi_q.size(1), columns = values.size(1);
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  const at::Tensor k = Padded(phi_k, blocks), v = Padded(values, blocks), q = Padded(phi_q, blocks);
  // States of the blocks, one more at each end.
  const at::Tensor states = at::bmm(k.view({blocks + 2, kBlock, m}).transpose(1, 2),
                                    v.view({blocks + 2, kBlock, columns}));
  const at::Tensor c = Weights(layer, head, -2 * kBlock, 2 * kBlock);
  const double* const values_of_c = c.data_ptr<double>();
  // Of block I: blocks up to I - 2, and from I + 2 on, each scanned from its own end.
  const at::Tensor before = states.cumsum(0) * values_of_c[0];
  const at::Tensor after = states.flip(0).cumsum(0).flip(0) * values_of_c[4 * kBlock];
  // Query a of a block and key t of the three blocks around it: offset t - B - a.
  const at::Tensor band = c.slice(0, 1, 4 * kBlock).unfold(0, 3 * kBlock, 1).flip(0);
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < blocks; first += kBlocksAtOnce) {
    const int64_t count = std::min(kBlocksAtOnce, blocks - first);
    const int64_t row = (first + 1) * kBlock;
    const at::Tensor queries = q.slice(0, row, row + count * kBlock).view({count, kBlock, m});
    const at::Tensor near_k = k.slice(0, row - kBlock, row + (count + 1) * kBlock)
                                  .unfold(0, 3 * kBlock, kBlock);  // [count, m, 3B]
    const at::Tensor near_v = v.slice(0, row - kBlock, row + (count + 1) * kBlock)
                                  .unfold(0, 3 * kBlock, kBlock)
                                  .transpose(1, 2);
    at::Tensor sums = at::bmm(at::bmm(queries, near_k).mul_(band), near_v);
    // State index I + 1 is block I; blocks <= I - 2 are sums up to index I - 1.
    at::Tensor far = at::zeros({count, m, columns}, sums.options());
    const int64_t skip = first == 0 ? 1 : 0;
    far.slice(0, skip).add_(before.slice(0, first - 1 + skip, first - 1 + count));
    const int64_t with_after = std::min(count, blocks - 1 - first);
    far.slice(0, 0, with_after).add_(after.slice(0, first + 3, first + 3 + with_after));
    parts.push_back(sums.add_(at::bmm(queries, far)).view({count * kBlock, columns}));
  }
  return at::cat(parts).slice(0, 0, n);
}

// The same for some rows, each over all keys.
at::Tensor SomeRows(const Layer& layer, int64_t head, absl::Span<const int64_t> rows,
                    const at::Tensor& phi_q, const at::Tensor& phi_k, const at::Tensor& values) {
  const int64_t n = phi_k.size(0);
  const at::Tensor c = Weights(layer, head, -(n - 1), n - 1);
  at::Tensor products = at::matmul(phi_q, phi_k.t());
  for (size_t r = 0; r < rows.size(); ++r) {
    products[static_cast<int64_t>(r)].mul_(c.slice(0, n - 1 - rows[r], 2 * n - 1 - rows[r]));
  }
  return at::matmul(products, values);
}

// x [n, D] normed -> [rows, D]: attention of one layer before its output projection. `rows` empty:
// all.
at::Tensor Attend(const Layer& layer, const at::Tensor& normed, const at::Tensor& normed_queries,
                  absl::Span<const int64_t> rows) {
  const int64_t heads = layer.config.num_heads, d = layer.config.head_dim;
  const at::Tensor projection = layer.Get("attention.projection");
  const auto part = [&](const std::string& key, const at::Tensor& x, int64_t head) {
    const at::Tensor weight = layer.Get(key + ".weight").slice(0, head * d, (head + 1) * d);
    const at::Tensor bias = layer.Get(key + ".bias").slice(0, head * d, (head + 1) * d);
    return at::linear(x, weight, bias);
  };
  at::Tensor attended = at::empty({normed_queries.size(0), heads * d}, at::kDouble);
  for (int64_t h = 0; h < heads; ++h) {
    const at::Tensor phi_q = Features(part("attention.query", normed_queries, h), projection[h]);
    const at::Tensor phi_k = Features(part("attention.key", normed, h), projection[h]);
    const at::Tensor ones = at::ones({normed.size(0), 1}, at::kDouble);
    const at::Tensor values = at::cat({part("attention.value", normed, h), ones}, 1);
    const at::Tensor sums = rows.empty() ? AllRows(layer, h, phi_q, phi_k, values)
                                         : SomeRows(layer, h, rows, phi_q, phi_k, values);
    attended.slice(1, h * d, (h + 1) * d).copy_(sums.slice(1, 0, d) / sums.slice(1, d, d + 1));
  }
  return attended;
}

// The rest of the layer, in place, some rows at a time.
void Finish(const Layer& layer, const at::Tensor& attended, at::Tensor& x) {
  for (int64_t first = 0; first < x.size(0); first += kRowsAtOnce) {
    at::Tensor part = x.slice(0, first, first + kRowsAtOnce);
    part.add_(layer.Linear(attended.slice(0, first, first + kRowsAtOnce), "attention.output"));
    const at::Tensor normed = layer.Norm(part, layer.name + "ffn_norm");
    part.add_(layer.Linear(at::gelu(layer.Linear(normed, "ffn.up")), "ffn.down"));
  }
}

}  // namespace

at::Tensor DoubleStates(const ModelConfig& config, const WeightMap& weights,
                        const std::vector<int32_t>& ids, absl::Span<const int64_t> rows) {
  const at::Tensor index = at::tensor(at::ArrayRef<int32_t>(ids), at::kInt);
  const at::Tensor chosen = at::tensor(at::ArrayRef<int64_t>(rows.data(), rows.size()), at::kLong);
  at::Tensor x;
  for (int64_t l = 0; l < config.num_layers; ++l) {
    const Layer layer = {config, weights, absl::StrCat("layers.", l, ".")};
    if (l == 0) x = at::index_select(layer.Named("embeddings.token.weight"), 0, index);
    const at::Tensor normed = layer.Norm(x, layer.name + "attention_norm");
    if (l + 1 < config.num_layers) {
      Finish(layer, Attend(layer, normed, normed, {}), x);
      continue;
    }
    x = at::index_select(x, 0, chosen);
    Finish(layer, Attend(layer, normed, at::index_select(normed, 0, chosen), rows), x);
  }
  return Layer{config, weights, ""}.Norm(x, "final_norm");
}

}  // namespace longwave
