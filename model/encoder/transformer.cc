#include "model/encoder/transformer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/encoder/word_rows.h"

namespace longwave {
namespace {

// A copy of a stored tensor on the device. Precondition: the map has it (LoadModelFolder checked).
at::Tensor ToDevice(const WeightMap& weights, const std::string& name, c10::Device device) {
  const WeightTensor& stored = weights.at(name);
  at::Tensor tensor = at::empty(stored.shape, at::kFloat);
  std::copy(stored.values.begin(), stored.values.end(), tensor.data_ptr<float>());
  return tensor.to(device);
}

at::Tensor OptionalToDevice(const WeightMap& weights, const std::string& name, c10::Device device) {
  return weights.contains(name) ? ToDevice(weights, name, device) : at::Tensor();
}

LayerNorm MakeNorm(const ModelConfig& config, const WeightMap& weights, const std::string& name,
                   c10::Device device) {
  return LayerNorm(ToDevice(weights, name + ".weight", device),
                   OptionalToDevice(weights, name + ".bias", device), config.layer_norm_eps);
}

at::Tensor Weights(const WeightMap& weights, const std::vector<std::string>& names,
                   c10::Device device) {
  std::vector<at::Tensor> parts;
  for (const std::string& name : names)
    parts.push_back(ToDevice(weights, name + ".weight", device));
  return at::cat(parts);
}

// Undefined without biases.
at::Tensor Biases(const WeightMap& weights, const std::vector<std::string>& names,
                  c10::Device device) {
  std::vector<at::Tensor> parts;
  for (const std::string& name : names) {
    const at::Tensor bias = OptionalToDevice(weights, name + ".bias", device);
    if (bias.defined()) parts.push_back(bias);
  }
  return parts.empty() ? at::Tensor() : at::cat(parts);
}

// Several linear layers of one input as one: their outputs side by side.
Linear MakeLinear(const WeightMap& weights, const std::vector<std::string>& names,
                  c10::Device device, int64_t tile_rows, ComputeType compute) {
  return Linear(Weights(weights, names, device), Biases(weights, names, device), tile_rows,
                compute);
}

// W_o b_v. Attention weights sum to one, so a bias of v comes out of the attention as it went in;
// it is added behind the output projection instead. A mean of v far above its spread then costs no
// digits in the attention's sums.
at::Tensor FoldedValueBias(const at::Tensor& value_bias, const at::Tensor& output_weight) {
  return at::mv(output_weight.to(at::kDouble), value_bias.to(at::kDouble)).to(at::kFloat);
}

}  // namespace

LayerNorm::LayerNorm(at::Tensor weight, at::Tensor bias, double eps)
    : weight_(std::move(weight)), bias_(std::move(bias)), eps_(eps) {}

at::Tensor LayerNorm::Apply(const at::Tensor& x) const {
  const std::optional<at::Tensor> bias =
      bias_.defined() ? std::optional<at::Tensor>(bias_) : std::nullopt;
  return at::layer_norm(x, weight_.sizes(), weight_, bias, eps_, /*cudnn_enable=*/false);
}

ProjectedTable::ProjectedTable(const WeightMap& weights, const std::string& name,
                               c10::Device device, int64_t tile_rows, ComputeType compute)
    : projection_(MakeLinear(weights, {name + "_projection"}, device, tile_rows, compute)) {
  const at::Tensor stored = ToDevice(weights, name + ".weight", device);
  table_ = at::cat({at::zeros({1, stored.size(1)}, stored.options()), stored});
}

// Column after column, so that the order of the sum is the same for every row; what is missing adds
// the table's row of zeros.
void ProjectedTable::AddTo(const at::Tensor& rows, at::Tensor& x) const {
  const at::Tensor columns = rows.t().contiguous().add(1);  // [k, rows]
  at::Tensor sum = at::index_select(table_, 0, columns[0]);
  for (int64_t k = 1; k < columns.size(0); ++k) {
    sum.add_(at::index_select(table_, 0, columns[k]));
  }
  x.add_(projection_.Apply(sum, PostOp::kNone));
}

Embedding::Embedding(const ModelConfig& config, const WeightMap& weights,
                     std::vector<uint32_t> word_keys, c10::Device device, int64_t tile_rows,
                     ComputeType compute)
    : positions_(config.positions),
      tokens_(ToDevice(weights, "embeddings.token.weight", device)),
      word_keys_(std::move(word_keys)),
      has_norm_(config.embedding_norm) {
  const auto table_of = [&](const char* name) {
    return ProjectedTable(weights, name, device, tile_rows, compute);
  };
  if (positions_ == PositionKind::kLearned) {
    table_ = ToDevice(weights, "embeddings.position.weight", device);
  }
  if (positions_ == PositionKind::kSinusoidal) {
    const at::Tensor channel = at::arange(0, config.hidden_size, 2, at::TensorOptions(at::kDouble));
    frequencies_ =
        at::exp(channel * (-std::log(10000.0) / config.hidden_size)).unsqueeze(0).to(device);
  }
  if (!config.ngrams.sizes.empty()) ngrams_ = table_of("embeddings.ngram");
  if (config.words.count > 0) words_ = table_of("embeddings.word");
  if (has_norm_) norm_ = MakeNorm(config, weights, "embeddings.norm", device);
}

void Embedding::Apply(const EmbeddingInputs& inputs, at::Tensor x) const {
  at::index_select_out(x, tokens_, 0, inputs.ids);
  if (has_ngrams()) ngrams_.AddTo(inputs.ngrams, x);
  if (has_words()) words_.AddTo(inputs.words, x);
  if (positions_ == PositionKind::kLearned) x.add_(at::index_select(table_, 0, inputs.positions));
  if (positions_ == PositionKind::kSinusoidal) AddSinusoids(inputs.positions, x);
  if (has_norm_) x.copy_(norm_.Apply(x));
}

// In double: an angle may be as large as the longest sequence, 2^20, of which fp32 keeps only four
// bits after the point.
void Embedding::AddSinusoids(const at::Tensor& positions, at::Tensor& x) const {
  const at::Tensor angles = positions.to(at::kDouble).unsqueeze(1) * frequencies_;
  const at::Tensor pairs = at::stack({at::sin(angles), at::cos(angles)}, /*dim=*/2);
  x.add_(pairs.view({x.size(0), x.size(1)}).to(at::kFloat));
}

TransformerLayer::TransformerLayer(const ModelConfig& config, const WeightMap& weights, int layer,
                                   c10::Device device, int64_t tile_rows, ComputeType compute)
    : pre_norm_(config.norm_position == NormPosition::kPre), activation_(config.activation) {
  const std::string name = absl::StrCat("layers.", layer, ".");
  const std::string attention = name + "attention.";
  attention_norm_ = MakeNorm(config, weights, name + "attention_norm", device);
  ffn_norm_ = MakeNorm(config, weights, name + "ffn_norm", device);
  MakeProjections(weights, attention, device, tile_rows, compute);
  std::vector<std::string> up = {name + "ffn.up"};
  if (activation_ == Activation::kSwiglu) up.insert(up.begin(), name + "ffn.gate");
  up_ = MakeLinear(weights, up, device, tile_rows, compute);
  down_ = MakeLinear(weights, {name + "ffn.down"}, device, tile_rows, compute);
}

void TransformerLayer::MakeProjections(const WeightMap& weights, const std::string& attention,
                                       c10::Device device, int64_t tile_rows, ComputeType compute) {
  const std::vector<std::string> inputs = {attention + "query", attention + "key",
                                           attention + "value"};
  const at::Tensor output_weight = ToDevice(weights, attention + "output.weight", device);
  at::Tensor input_bias = Biases(weights, inputs, device);
  at::Tensor output_bias = Biases(weights, {attention + "output"}, device);
  if (input_bias.defined() && output_bias.defined()) {
    const int64_t width = output_weight.size(1);
    at::Tensor value_bias = input_bias.narrow(0, 2 * width, width);
    output_bias.add_(FoldedValueBias(value_bias, output_weight));
    value_bias.zero_();
  }
  qkv_ = Linear(Weights(weights, inputs, device), std::move(input_bias), tile_rows, compute);
  output_ = Linear(output_weight, std::move(output_bias), tile_rows, compute);
}

void TransformerLayer::ProjectQkv(const at::Tensor& x, at::Tensor qkv) const {
  qkv.copy_(qkv_.Apply(pre_norm_ ? attention_norm_.Apply(x) : x, PostOp::kNone));
}

void TransformerLayer::Finish(const at::Tensor& attended, at::Tensor x) const {
  x.add_(output_.Apply(attended, PostOp::kNone));
  if (pre_norm_) {
    x.add_(FeedForward(ffn_norm_.Apply(x)));
    return;
  }
  at::Tensor normed = attention_norm_.Apply(x);
  normed.add_(FeedForward(normed));
  x.copy_(ffn_norm_.Apply(normed));
}

at::Tensor TransformerLayer::FeedForward(const at::Tensor& x) const {
  switch (activation_) {
    case Activation::kGelu:
      return down_.Apply(up_.Apply(x, PostOp::kGelu), PostOp::kNone);
    case Activation::kGeluTanh:
      return down_.Apply(up_.Apply(x, PostOp::kGeluTanh), PostOp::kNone);
    case Activation::kRelu:
      return down_.Apply(up_.Apply(x, PostOp::kRelu), PostOp::kNone);
    case Activation::kSwiglu:
      break;
  }
  const at::Tensor gate_up = up_.Apply(x, PostOp::kNone);
  const int64_t width = up_.outputs() / 2;
  // Contiguous copies: on a strided view the row's end would be an element-wise loop's tail.
  at::Tensor gate = gate_up.narrow(1, 0, width).contiguous();
  at::silu_(gate);
  gate.mul_(gate_up.narrow(1, width, width).contiguous());
  return down_.Apply(gate, PostOp::kNone);
}

double TransformerLayer::QkvFlopsPerRow() const { return qkv_.FlopsPerRow(); }

double TransformerLayer::FinishFlopsPerRow() const {
  return output_.FlopsPerRow() + up_.FlopsPerRow() + down_.FlopsPerRow();
}

Transformer::Transformer(const ModelFolder& folder, std::vector<uint32_t> word_keys,
                         c10::Device device, ComputeType compute)
    : config_(folder.config),
      device_(device),
      tile_rows_(device.is_cuda() ? kCudaTileRows : kCpuTileRows),
      embedding_(config_, folder.weights, std::move(word_keys), device, tile_rows_, compute),
      has_final_norm_(config_.has_final_norm()) {
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    layers_.emplace_back(config_, folder.weights, layer, device, tile_rows_, compute);
  }
  if (has_final_norm_) final_norm_ = MakeNorm(config_, folder.weights, "final_norm", device);
}

absl::StatusOr<std::unique_ptr<const Transformer>> Transformer::Create(
    const ModelFolder& folder, c10::Device device, const std::string& device_name,
    ComputeType compute) {
  std::vector<uint32_t> word_keys;
  if (folder.config.words.count > 0) {
    auto unpacked = UnpackWordKeys(folder.weights.at("embeddings.word_keys").values);
    if (!unpacked.ok()) return unpacked.status();
    word_keys = *std::move(unpacked);
  }
  auto transformer =
      std::unique_ptr<Transformer>(new Transformer(folder, std::move(word_keys), device, compute));
  for (int layer = 0; layer < folder.config.num_layers; ++layer) {
    auto attention = CreateAttention(folder.config, folder.weights, layer, device_name);
    if (!attention.ok()) return attention.status();
    transformer->attentions_.push_back(*std::move(attention));
  }
  return transformer;
}

void Transformer::ApplyFinalNorm(at::Tensor x) const {
  if (has_final_norm_) x.copy_(final_norm_.Apply(x));
}

}  // namespace longwave
