#ifndef LONGWAVE_MODEL_ENCODER_TRANSFORMER_H_
#define LONGWAVE_MODEL_ENCODER_TRANSFORMER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/attention/attention.h"
#include "model/encoder/linear.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// y = (x - mean) / sqrt(var + eps) * weight + bias, per row. Immutable; thread-safe.
class LayerNorm {
 public:
  LayerNorm() = default;
  LayerNorm(at::Tensor weight, at::Tensor bias, double eps);
  at::Tensor Apply(const at::Tensor& x) const;

 private:
  at::Tensor weight_;
  at::Tensor bias_;  // undefined without biases
  double eps_ = 0;
};

// What the embedding of a row tile needs to know of its rows; undefined where the model does not.
struct EmbeddingInputs {
  at::Tensor ids;        // [rows] int32
  at::Tensor positions;  // [rows] int32, of the tokens in their sequences: needs_positions()
  at::Tensor ngrams;     // [rows, sizes] int32, FillNgramBuckets': has_ngrams()
  at::Tensor words;      // [rows, 1] int32, FillWordRows': has_words()
};

// A table of embeddings with a projection behind it. Immutable; thread-safe.
class ProjectedTable {
 public:
  ProjectedTable() = default;
  // The weights `name`.weight and `name`_projection.weight.
  ProjectedTable(const WeightMap& weights, const std::string& name, c10::Device device,
                 int64_t tile_rows, ComputeType compute);

  bool defined() const { return table_.defined(); }
  // x[i] += P sum_k table[rows[i, k]], without rows of -1. rows: [one tile, k] int32.
  void AddTo(const at::Tensor& rows, at::Tensor& x) const;
  double FlopsPerRow() const { return projection_.FlopsPerRow(); }

 private:
  at::Tensor table_;  // [1 + rows, dim]: zeros for -1, then the table
  Linear projection_;
};

// What goes in: token embedding, n-grams, words, positions, optional norm.
class Embedding {
 public:
  Embedding() = default;
  // word_keys: ascending (UnpackWordKeys); empty without words.
  Embedding(const ModelConfig& config, const WeightMap& weights, std::vector<uint32_t> word_keys,
            c10::Device device, int64_t tile_rows, ComputeType compute);

  bool needs_positions() const { return positions_ != PositionKind::kNone; }
  bool has_ngrams() const { return ngrams_.defined(); }
  bool has_words() const { return words_.defined(); }
  absl::Span<const uint32_t> word_keys() const { return word_keys_; }
  // One tile. x: [rows, hidden], overwritten.
  void Apply(const EmbeddingInputs& inputs, at::Tensor x) const;
  // Of the products behind the tables of n-grams and words.
  double NgramFlopsPerRow() const { return ngrams_.FlopsPerRow(); }
  double WordFlopsPerRow() const { return words_.FlopsPerRow(); }

 private:
  void AddSinusoids(const at::Tensor& positions, at::Tensor& x) const;

  PositionKind positions_ = PositionKind::kNone;
  at::Tensor tokens_;  // [vocabulary, hidden]
  ProjectedTable ngrams_;
  ProjectedTable words_;
  std::vector<uint32_t> word_keys_;
  at::Tensor table_;        // learned: [position_table_length, hidden]
  at::Tensor frequencies_;  // sinusoidal: [1, hidden / 2] doubles, 10000^(-2c / hidden)
  bool has_norm_ = false;
  LayerNorm norm_;
};

// One layer but for the attention between its two halves. Every operation takes one row tile and
// leaves a row's bits independent of the other rows.
class TransformerLayer {
 public:
  TransformerLayer(const ModelConfig& config, const WeightMap& weights, int layer,
                   c10::Device device, int64_t tile_rows, ComputeType compute);

  // qkv: [rows, 3 * heads * head_dim] = (Wq, Wk, Wv)(norm(x)), or of x itself for a post-norm
  // layer.
  void ProjectQkv(const at::Tensor& x, at::Tensor qkv) const;
  // x <- x + Wo attended, then x <- x + FFN(x), with the norms where the config has them.
  // attended: [rows, heads * head_dim], last stride 1. x in place.
  void Finish(const at::Tensor& attended, at::Tensor x) const;

  double QkvFlopsPerRow() const;
  double FinishFlopsPerRow() const;
  // Widest tensor that Finish makes, for the workers' scratch.
  int64_t WidestRow() const { return up_.outputs(); }

 private:
  void MakeProjections(const WeightMap& weights, const std::string& attention, c10::Device device,
                       int64_t tile_rows, ComputeType compute);
  at::Tensor FeedForward(const at::Tensor& x) const;

  bool pre_norm_;
  Activation activation_;
  LayerNorm attention_norm_;
  LayerNorm ffn_norm_;
  Linear qkv_;
  Linear output_;
  Linear up_;  // SwiGLU: gate and up in one product, [gate; up]
  Linear down_;
};

// The model on its device. Immutable; shared by all jobs.
class Transformer {
 public:
  static absl::StatusOr<std::unique_ptr<const Transformer>> Create(const ModelFolder& folder,
                                                                   c10::Device device,
                                                                   const std::string& device_name,
                                                                   ComputeType compute);

  const ModelConfig& config() const { return config_; }
  c10::Device device() const { return device_; }
  int64_t tile_rows() const { return tile_rows_; }
  int layers() const { return static_cast<int>(layers_.size()); }
  int64_t heads_width() const { return config_.num_heads * config_.head_dim; }
  const Embedding& embedding() const { return embedding_; }
  const TransformerLayer& layer(int layer) const { return layers_[layer]; }
  const Attention& attention(int layer) const { return *attentions_[layer]; }
  // The final norm of a pre-norm model, in place; nothing otherwise.
  void ApplyFinalNorm(at::Tensor x) const;

 private:
  Transformer(const ModelFolder& folder, std::vector<uint32_t> word_keys, c10::Device device,
              ComputeType compute);

  ModelConfig config_;
  c10::Device device_;
  int64_t tile_rows_;
  Embedding embedding_;
  std::vector<TransformerLayer> layers_;
  std::vector<std::unique_ptr<const Attention>> attentions_;
  bool has_final_norm_ = false;
  LayerNorm final_norm_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_TRANSFORMER_H_
