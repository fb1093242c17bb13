#include "model/weights/weight_table.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

using Shape = std::vector<int64_t>;

class Table {
 public:
  explicit Table(const ModelConfig& config) : config_(config) {}

  void Add(std::string name, Shape shape) { rows_.push_back({std::move(name), std::move(shape)}); }
  void AddNorm(const std::string& name) { AddWithBias(name, {config_.hidden_size}); }
  void AddLinear(const std::string& name, int64_t out, int64_t in) { AddWithBias(name, {out, in}); }
  void AddRelativeBias(const std::string& name);
  void AddLayer(int64_t layer);
  std::vector<ExpectedWeight> Take() { return std::move(rows_); }

 private:
  void AddWithBias(const std::string& name, Shape shape) {
    const int64_t out = shape.front();
    Add(name + ".weight", std::move(shape));
    if (config_.use_bias) Add(name + ".bias", {out});
  }

  const ModelConfig& config_;
  std::vector<ExpectedWeight> rows_;
};

bool HasProjection(FeatureKind kind) {
  return kind == FeatureKind::kPrf || kind == FeatureKind::kTrf || kind == FeatureKind::kSphere;
}

void Table::AddRelativeBias(const std::string& name) {
  const BiasConfig& bias = config_.attention.bias;
  const int64_t heads = config_.num_heads;
  switch (bias.kind) {
    case BiasKind::kNone:
      return;
    case BiasKind::kTable:
      return Add(name, {heads, 2 * bias.table_length - 1});
    case BiasKind::kClipped:
      return Add(name, {heads, 2 * bias.max_distance + 1});
    case BiasKind::kT5:
      return Add(name, {heads, bias.num_buckets});
    case BiasKind::kAlibi:
      return Add(name, {heads});
  }
}

void Table::AddLayer(int64_t layer) {
  const std::string name = absl::StrCat("layers.", layer, ".");
  const AttentionConfig& attention = config_.attention;
  const int64_t hidden = config_.hidden_size;
  const int64_t heads_width = config_.num_heads * config_.head_dim;
  AddNorm(name + "attention_norm");
  for (const char* part : {"query", "key", "value"}) {
    AddLinear(absl::StrCat(name, "attention.", part), heads_width, hidden);
  }
  AddLinear(name + "attention.output", hidden, heads_width);
  if (HasProjection(attention.features)) {
    Add(name + "attention.projection",
        {config_.num_heads, attention.num_features, config_.head_dim});
  }
  if (!attention.bias.shared_layers) AddRelativeBias(name + "attention.bias");
  AddNorm(name + "ffn_norm");
  AddLinear(name + "ffn.up", config_.intermediate_size, hidden);
  if (config_.activation == Activation::kSwiglu) {
    AddLinear(name + "ffn.gate", config_.intermediate_size, hidden);
  }
  AddLinear(name + "ffn.down", hidden, config_.intermediate_size);
}

}  // namespace

std::vector<ExpectedWeight> ExpectedWeights(const ModelConfig& config) {
  Table table(config);
  table.Add("embeddings.token.weight", {config.vocab_size, config.hidden_size});
  if (const NgramConfig& ngrams = config.ngrams; !ngrams.sizes.empty()) {
    table.Add("embeddings.ngram.weight", {ngrams.buckets, ngrams.dim});
    table.Add("embeddings.ngram_projection.weight", {config.hidden_size, ngrams.dim});
  }
  if (const WordConfig& words = config.words; words.count > 0) {
    table.Add("embeddings.word_keys", {words.count, WordConfig::kKeyBytes});
    table.Add("embeddings.word.weight", {words.count, words.dim});
    table.Add("embeddings.word_projection.weight", {config.hidden_size, words.dim});
  }
  if (config.positions == PositionKind::kLearned) {
    table.Add("embeddings.position.weight", {config.position_table_length, config.hidden_size});
  }
  if (config.embedding_norm) table.AddNorm("embeddings.norm");
  if (config.attention.bias.shared_layers) table.AddRelativeBias("attention_bias");
  for (int64_t layer = 0; layer < config.num_layers; ++layer) table.AddLayer(layer);
  if (config.has_final_norm()) table.AddNorm("final_norm");
  return table.Take();
}

}  // namespace longwave
