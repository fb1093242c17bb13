#include "model/reference/encoder.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "model/reference/attention.h"
#include "model/reference/bias.h"

namespace longwave {
namespace {

using Rows = std::vector<double>;  // [n, width], width known from context

constexpr double kDegenerate = 0x1p-20;

double Activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x > 0 ? x : 0;
    case Activation::kSwiglu:
      return x / (1 + std::exp(-x));  // of the gate
  }
  return x;
}

double Sinusoid(int64_t position, int64_t channel, int64_t width) {
  const int64_t even = channel - channel % 2;
  const double angle = position / std::pow(10000.0, static_cast<double>(even) / width);
  return channel % 2 == 0 ? std::sin(angle) : std::cos(angle);
}

class EncoderPass {
 public:
  EncoderPass(const ModelConfig& config, const WeightMap& weights, absl::Span<const int32_t> ids)
      : config_(config), weights_(weights), ids_(ids), n_(ids.size()) {}

  Rows Embeddings() const;
  // x is the layer's input and becomes its output.
  absl::Status Layer(int layer, Rows& x) const;
  Rows Norm(const std::string& name, const Rows& x) const;

 private:
  const std::vector<float>& Weight(const std::string& name) const {
    return weights_.find(name)->second.values;
  }
  // A bias, or zeros where the model has none.
  std::vector<double> Bias(const std::string& name, int64_t width) const;
  Rows Linear(const std::string& name, const Rows& x) const;
  absl::StatusOr<Rows> Attention(int layer, const Rows& x) const;
  Rows FeedForward(const std::string& layer_name, const Rows& x) const;
  void AddNgrams(Rows& x) const;
  void AddWords(Rows& x) const;

  const ModelConfig& config_;
  const WeightMap& weights_;
  const absl::Span<const int32_t> ids_;
  const int64_t n_;
};

std::vector<double> EncoderPass::Bias(const std::string& name, int64_t width) const {
  if (!config_.use_bias) return std::vector<double>(width, 0);
  const std::vector<float>& stored = Weight(name + ".bias");
  return std::vector<double>(stored.begin(), stored.end());
}

Rows EncoderPass::Embeddings() const {
  const int64_t width = config_.hidden_size;
  const std::vector<float>& tokens = Weight("embeddings.token.weight");
  Rows x(n_ * width);
  for (int64_t i = 0; i < n_; ++i) {
    for (int64_t c = 0; c < width; ++c) {
      x[i * width + c] = tokens[ids_[i] * width + c];
      if (config_.positions == PositionKind::kSinusoidal) {
        x[i * width + c] += Sinusoid(i, c, width);
      } else if (config_.positions == PositionKind::kLearned) {
        x[i * width + c] += Weight("embeddings.position.weight")[i * width + c];
      }
    }
  }
  if (!config_.ngrams.sizes.empty()) AddNgrams(x);
  if (config_.words.count > 0) AddWords(x);
  return config_.embedding_norm ? Norm("embeddings.norm", x) : x;
}

// The row of the n-gram's embedding, as NgramConfig says.
int64_t NgramRow(absl::Span<const int32_t> ngram, int64_t buckets) {
  uint64_t hash = ngram.size();
  for (const int32_t id : ngram) {
    hash = (hash + static_cast<uint64_t>(id) + 1) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  }
  return static_cast<int64_t>((hash & 0xffffffff) % static_cast<uint64_t>(buckets));
}

void EncoderPass::AddNgrams(Rows& x) const {
  const NgramConfig& ngrams = config_.ngrams;
  const std::vector<float>& table = Weight("embeddings.ngram.weight");
  const std::vector<float>& projection = Weight("embeddings.ngram_projection.weight");
  for (int64_t i = 0; i < n_; ++i) {
    std::vector<double> sum(ngrams.dim, 0);
    for (const int64_t size : ngrams.sizes) {
      if (i < size - 1) continue;
      const int64_t row = NgramRow(ids_.subspan(i - size + 1, size), ngrams.buckets);
      for (int64_t c = 0; c < ngrams.dim; ++c) sum[c] += table[row * ngrams.dim + c];
    }
    for (int64_t o = 0; o < config_.hidden_size; ++o) {
      for (int64_t c = 0; c < ngrams.dim; ++c) {
        x[i * config_.hidden_size + o] += projection[o * ngrams.dim + c] * sum[c];
      }
    }
  }
}

// What a token is to a word: 'l' part of one of letters, 'd' of one of digits, ' ' of none.
char KindOfToken(int32_t id) {
  if (id >= '0' && id <= '9') return 'd';
  const bool ascii = (id >= 'a' && id <= 'z') || (id >= 'A' && id <= 'Z');
  return ascii || (id >= 128 && id < 256) ? 'l' : ' ';
}

// The key of a word's bytes, as WordConfig says.
uint64_t WordKey(absl::Span<const int32_t> word) {
  uint64_t hash = 0;
  for (const int32_t id : word) {
    const int32_t lower = id >= 'A' && id <= 'Z' ? id - 'A' + 'a' : id;
    hash = (hash + static_cast<uint64_t>(lower) + 1) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  }
  return hash & 0xffffffff;
}

void EncoderPass::AddWords(Rows& x) const {
  const WordConfig& words = config_.words;
  const std::vector<float>& keys = Weight("embeddings.word_keys");
  const std::vector<float>& table = Weight("embeddings.word.weight");
  const std::vector<float>& projection = Weight("embeddings.word_projection.weight");
  for (int64_t begin = 0, end = 0; begin < n_; begin = end) {
    const char kind = KindOfToken(ids_[begin]);
    for (end = begin + 1; end < n_ && KindOfToken(ids_[end]) == kind;) ++end;
    if (kind == ' ' || end - begin > WordConfig::kMaxBytes) continue;
    const uint64_t key = WordKey(ids_.subspan(begin, end - begin));
    for (int64_t row = 0; row < words.count; ++row) {
      uint64_t stored = 0;
      for (int64_t k = 0; k < WordConfig::kKeyBytes; ++k) {
        stored += static_cast<uint64_t>(keys[row * WordConfig::kKeyBytes + k]) << (8 * k);
      }
      if (stored != key) continue;
      for (int64_t o = 0; o < config_.hidden_size; ++o) {
        for (int64_t c = 0; c < words.dim; ++c) {
          x[(end - 1) * config_.hidden_size + o] +=
              static_cast<double>(projection[o * words.dim + c]) * table[row * words.dim + c];
        }
      }
    }
  }
}

Rows EncoderPass::Norm(const std::string& name, const Rows& x) const {
  const int64_t width = config_.hidden_size;
  const std::vector<float>& gain = Weight(name + ".weight");
  const std::vector<double> shift = Bias(name, width);
  Rows y(x.size());
  for (int64_t i = 0; i < n_; ++i) {
    const double* row = &x[i * width];
    double mean = 0;
    double variance = 0;
    for (int64_t c = 0; c < width; ++c) mean += row[c] / width;
    for (int64_t c = 0; c < width; ++c) variance += (row[c] - mean) * (row[c] - mean) / width;
    const double factor = 1 / std::sqrt(variance + config_.layer_norm_eps);
    for (int64_t c = 0; c < width; ++c) {
      y[i * width + c] = (row[c] - mean) * factor * gain[c] + shift[c];
    }
  }
  return y;
}

Rows EncoderPass::Linear(const std::string& name, const Rows& x) const {
  const std::vector<float>& stored = Weight(name + ".weight");
  const int64_t in = x.size() / n_;
  const int64_t out = stored.size() / in;
  const std::vector<double> shift = Bias(name, out);
  std::vector<double> transposed(in * out);
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t c = 0; c < in; ++c) transposed[c * out + o] = stored[o * in + c];
  }
  Rows y(n_ * out);
  for (int64_t i = 0; i < n_; ++i) {
    double* row = &y[i * out];
    for (int64_t o = 0; o < out; ++o) row[o] = shift[o];
    for (int64_t c = 0; c < in; ++c) {
      for (int64_t o = 0; o < out; ++o) row[o] += x[i * in + c] * transposed[c * out + o];
    }
  }
  return y;
}

// Columns [head * d, (head + 1) * d) of [n, heads * d].
Rows HeadColumns(const Rows& x, int64_t heads, int64_t head, int64_t d) {
  Rows columns;
  for (size_t begin = head * d; begin < x.size(); begin += heads * d) {
    columns.insert(columns.end(), x.begin() + begin, x.begin() + begin + d);
  }
  return columns;
}

absl::StatusOr<Rows> EncoderPass::Attention(int layer, const Rows& x) const {
  const std::string name = absl::StrCat("layers.", layer, ".attention.");
  const int64_t heads = config_.num_heads;
  const int64_t d = config_.head_dim;
  const Rows q = Linear(name + "query", x);
  const Rows k = Linear(name + "key", x);
  const Rows v = Linear(name + "value", x);
  std::vector<double> projection;
  if (const auto stored = weights_.find(name + "projection"); stored != weights_.end()) {
    projection.assign(stored->second.values.begin(), stored->second.values.end());
  }
  const int64_t per_head = projection.size() / heads;
  Rows out(q.size());
  for (int64_t h = 0; h < heads; ++h) {
    const Rows head_q = HeadColumns(q, heads, h, d);
    const Rows head_k = HeadColumns(k, heads, h, d);
    const Rows head_v = HeadColumns(v, heads, h, d);
    const ReferenceHead head{
        n_,     d,      head_q,
        head_k, head_v, absl::MakeConstSpan(projection).subspan(h * per_head, per_head)};
    const auto bias = [&](int64_t offset) {
      return ReferenceBias(config_, weights_, layer, h, offset);
    };
    const ReferenceRows rows = ReferenceAttention(head, config_.attention, bias, 0, n_);
    for (int64_t i = 0; i < n_; ++i) {
      if (std::abs(rows.denominators[i]) < kDegenerate * rows.magnitudes[i]) {
        return MakeError(ErrorReason::kDegenerateDenominator,
                         absl::StrCat("layer ", layer, ", head ", h, ", row ", i));
      }
      std::copy_n(&rows.values[i * d], d, &out[(i * heads + h) * d]);
    }
  }
  return Linear(name + "output", out);
}

Rows EncoderPass::FeedForward(const std::string& layer_name, const Rows& x) const {
  Rows up = Linear(layer_name + "ffn.up", x);
  if (config_.activation == Activation::kSwiglu) {
    const Rows gate = Linear(layer_name + "ffn.gate", x);
    for (size_t i = 0; i < up.size(); ++i) up[i] *= Activate(Activation::kSwiglu, gate[i]);
  } else {
    for (double& value : up) value = Activate(config_.activation, value);
  }
  return Linear(layer_name + "ffn.down", up);
}

Rows Sum(const Rows& a, const Rows& b) {
  Rows sum(a);
  for (size_t i = 0; i < sum.size(); ++i) sum[i] += b[i];
  return sum;
}

absl::Status EncoderPass::Layer(int layer, Rows& x) const {
  const std::string name = absl::StrCat("layers.", layer, ".");
  const bool pre = config_.norm_position == NormPosition::kPre;
  const absl::StatusOr<Rows> attended =
      Attention(layer, pre ? Norm(name + "attention_norm", x) : x);
  if (!attended.ok()) return attended.status();
  x = Sum(x, *attended);
  if (!pre) x = Norm(name + "attention_norm", x);
  x = Sum(x, FeedForward(name, pre ? Norm(name + "ffn_norm", x) : x));
  if (!pre) x = Norm(name + "ffn_norm", x);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<HiddenStates>> ReferenceHiddenStates(const ModelConfig& config,
                                                                const WeightMap& weights,
                                                                absl::Span<const int32_t> ids) {
  const EncoderPass pass(config, weights, ids);
  Rows x = pass.Embeddings();
  std::vector<HiddenStates> states = {x};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    if (absl::Status status = pass.Layer(layer, x); !status.ok()) return status;
    states.push_back(x);
  }
  if (config.has_final_norm()) states.back() = pass.Norm("final_norm", x);
  return states;
}

}  // namespace longwave
