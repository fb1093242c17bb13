#include "tests/property/attention_cases.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/status/status.h"
#include "model/reference/bias.h"

namespace longwave {
namespace {

constexpr int64_t kHeads = 2;
constexpr int64_t kHeadDim = 16;
constexpr int64_t kFeatures = 24;

std::vector<float> Normals(int64_t count, uint64_t seed, double scale) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0, scale);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(normal(generator));
  return values;
}

int64_t BiasColumns(const BiasConfig& bias) {
  switch (bias.kind) {
    case BiasKind::kTable:
      return 2 * bias.table_length - 1;
    case BiasKind::kClipped:
      return 2 * bias.max_distance + 1;
    case BiasKind::kT5:
      return bias.num_buckets;
    case BiasKind::kAlibi:
      return 1;
    case BiasKind::kNone:
      break;
  }
  return 0;
}

void AddBias(const CaseSpec& spec, AttentionCase& made) {
  const int64_t columns = BiasColumns(spec.attention.bias);
  if (columns == 0) return;
  WeightTensor tensor;
  tensor.shape = {kHeads, columns};
  tensor.values = Normals(kHeads * columns, 7, spec.spread);
  if (spec.attention.bias.kind == BiasKind::kAlibi) {
    for (int64_t h = 0; h < kHeads; ++h) tensor.values[h] = std::ldexp(1.0F, -3 - 3 * h);
  }
  if (spec.bias) {
    for (int64_t h = 0; h < kHeads; ++h) {
      for (int64_t c = 0; c < columns; ++c) {
        tensor.values[h * columns + c] = static_cast<float>(spec.bias(h, c));
      }
    }
  }
  made.weights[spec.attention.bias.shared_layers ? "attention_bias" : "layers.0.attention.bias"] =
      std::move(tensor);
}

// Rows orthogonal in groups of head_dim, with the lengths of Gaussian ones.
std::vector<float> OrthogonalRows(uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<float> values;
  std::vector<std::vector<double>> group;
  for (int64_t row = 0; row < kFeatures; ++row) {
    if (group.size() == kHeadDim) group.clear();
    std::vector<double> w(kHeadDim);
    double length = 0;
    for (double& x : w) {
      x = normal(generator);
      length += x * x;
    }
    for (const std::vector<double>& other : group) {
      double dot = 0;
      for (int64_t c = 0; c < kHeadDim; ++c) dot += w[c] * other[c];
      for (int64_t c = 0; c < kHeadDim; ++c) w[c] -= dot * other[c];
    }
    double norm = 0;
    for (const double x : w) norm += x * x;
    for (double& x : w) x /= std::sqrt(norm);
    group.push_back(w);
    for (const double x : w) values.push_back(static_cast<float>(x * std::sqrt(length)));
  }
  return values;
}

}  // namespace

AttentionCase MakeCase(const CaseSpec& spec) {
  AttentionCase made;
  made.name = spec.name;
  made.config.hidden_size = kHeads * kHeadDim;
  made.config.num_layers = 1;
  made.config.num_heads = kHeads;
  made.config.head_dim = kHeadDim;
  made.config.max_tokens = spec.max_tokens;
  made.config.attention = spec.attention;
  made.config.attention.num_features = kFeatures;
  WeightTensor projection;
  projection.shape = {kHeads, kFeatures, kHeadDim};
  for (int64_t h = 0; h < kHeads; ++h) {
    const std::vector<float> rows = OrthogonalRows(11 + h);
    projection.values.insert(projection.values.end(), rows.begin(), rows.end());
  }
  made.weights["layers.0.attention.projection"] = std::move(projection);
  AddBias(spec, made);
  return made;
}

AttentionInput RandomInput(const ModelConfig& config, int64_t n, uint64_t seed) {
  const auto make = [&](uint64_t part) {
    const std::vector<float> values =
        Normals(n * config.num_heads * config.head_dim, seed * 3 + part, 1.0);
    return at::tensor(values, at::kFloat).view({n, config.num_heads, config.head_dim});
  };
  return {.q = make(0), .k = make(1), .v = make(2)};
}

void RunAll(AttentionPass& pass, bool backwards) {
  for (int phase = 0; phase < pass.phases(); ++phase) {
    const int64_t pieces = pass.Pieces(phase);
    for (int64_t p = 0; p < pieces; ++p) pass.Run(phase, backwards ? pieces - 1 - p : p);
  }
}

at::Tensor RunRoute(const Attention& attention, Route route, const AttentionInput& input) {
  at::Tensor out = at::full_like(input.q, std::nan(""));
  const auto pass = attention.Begin(route, input.q, input.k, input.v, out);
  RunAll(*pass);
  return out;
}

std::vector<int64_t> AllRows(int64_t n) {
  std::vector<int64_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

std::vector<int64_t> SampledRows(int64_t n) {
  if (n < 1200) return AllRows(n);
  std::vector<int64_t> rows;
  const int64_t middle = n / 2 / kBlockTokens * kBlockTokens;
  const int64_t last_block = (n - 1) / kBlockTokens * kBlockTokens;
  for (const int64_t first : {int64_t{0}, kBlockTokens - 4, n / 3, middle - 4, n - n / 5,
                              last_block - kBlockTokens - 4, last_block - 4, n - 8}) {
    for (int64_t row = first; row < first + 8; ++row) rows.push_back(std::min(row, n - 1));
  }
  return rows;
}

at::Tensor RowsOf(const at::Tensor& output, const std::vector<int64_t>& rows) {
  return at::index_select(output, 0, at::tensor(rows, at::kLong));
}

at::Tensor ReferenceOutput(const AttentionCase& which, const AttentionInput& input,
                           const std::vector<int64_t>& rows) {
  const ModelConfig& config = which.config;
  const int64_t count = static_cast<int64_t>(rows.size());
  at::Tensor output = at::empty({count, config.num_heads, config.head_dim}, at::kDouble);
  for (int64_t h = 0; h < config.num_heads; ++h) {
    const auto values = [&](const at::Tensor& tensor) {
      const at::Tensor head = tensor.select(1, h).to(at::kDouble).contiguous();
      return std::vector<double>(head.const_data_ptr<double>(),
                                 head.const_data_ptr<double>() + head.numel());
    };
    const std::vector<double> q = values(input.q);
    const std::vector<double> k = values(input.k);
    const std::vector<double> v = values(input.v);
    std::vector<double> projection;
    const FeatureKind kind = config.attention.features;
    if (kind != FeatureKind::kElu && kind != FeatureKind::kSoftmax) {
      const std::vector<float>& stored =
          which.weights.find("layers.0.attention.projection")->second.values;
      const int64_t size = stored.size() / config.num_heads;
      projection.assign(stored.begin() + h * size, stored.begin() + (h + 1) * size);
    }
    const ReferenceRows result = ReferenceAttention(
        {.tokens = input.tokens(),
         .head_dim = config.head_dim,
         .q = q,
         .k = k,
         .v = v,
         .projection = projection},
        config.attention,
        [&](int64_t offset) { return ReferenceBias(config, which.weights, 0, h, offset); }, rows);
    output.select(1, h).copy_(
        at::tensor(result.values, at::kDouble).view({count, config.head_dim}));
  }
  return output;
}

std::unique_ptr<LayerState> MakeLayerState(const AttentionCase& which) {
  const ModelConfig& config = which.config;
  const bool softmax = config.attention.features == FeatureKind::kSoftmax;
  return std::unique_ptr<LayerState>(
      new LayerState{.config = config.attention,
                     .shape = {.heads = config.num_heads,
                               .head_dim = config.head_dim,
                               .features = softmax ? config.head_dim : config.features_per_head(),
                               .kind = config.attention.features,
                               .normalised = config.attention.qk_norm,
                               .causal = config.attention.causal},
                     .device = at::kCPU,
                     .weights = ToeplitzWeights(*RelativeBias::Create(config, which.weights, 0),
                                                config.attention.causal, config.max_tokens),
                     .features = *FeatureMap::Create(config, which.weights, 0, at::kCPU)});
}

RouteContext MakeContext(const LayerState& layer, const AttentionInput& input,
                         at::ScalarType precision) {
  return {.layer = &layer,
          .heads = AllHeads(layer.shape),
          .precision = precision,
          .q = input.q,
          .k = input.k,
          .v = input.v,
          .out = at::full(input.q.sizes(), std::nan(""), at::kDouble)};
}

double RelativeError(const at::Tensor& actual, const at::Tensor& expected,
                     const AttentionInput& input) {
  const at::Tensor difference = (actual.to(at::kDouble) - expected).abs();
  return at::max(difference).item<double>() / at::max(input.v.abs()).item<double>();
}

}  // namespace longwave
