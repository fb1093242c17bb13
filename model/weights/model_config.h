#ifndef LONGWAVE_MODEL_WEIGHTS_MODEL_CONFIG_H_
#define LONGWAVE_MODEL_WEIGHTS_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/api/encoder.h"

namespace longwave {

// kGelu: x Phi(x), exact; kGeluTanh: its tanh approximation; kSwiglu: down(silu(gate x) * (up x)).
enum class Activation { kGelu, kGeluTanh, kRelu, kSwiglu };
// Of attention and FFN alike. kPre: x + f(norm(x)), and a final norm; kPost: norm(x + f(x)).
enum class NormPosition { kPre, kPost };
// What positions add to the token embeddings, before the embedding norm. kSinusoidal, at position p
// of D channels: sin(p / 10000^(c / D)) for even c, cos(p / 10000^((c - 1) / D)) for odd c.
enum class PositionKind { kNone, kLearned, kSinusoidal };
// phi. kPrf: arXiv 2106.12566 Eq. 5; kTrf: Eq. 4 (signed); kSphere: kPrf with rows of norm sqrt(d);
// kElu: elu(x) + 1, no projection; kSoftmax: exact softmax attention with the same bias.
enum class FeatureKind { kPrf, kTrf, kSphere, kElu, kSoftmax };
enum class BiasKind { kNone, kTable, kClipped, kT5, kAlibi };
// What happens at offsets beyond a free table.
enum class BeyondTable { kRefuse, kClip };

// The relative bias b(j - i), per head. Stored shapes in weight_table.h.
struct BiasConfig {
  BiasKind kind = BiasKind::kNone;
  bool shared_layers = true;  // one bias for all layers, or one per layer
  int64_t max_distance =
      128;                   // kClipped: |offset| is clipped to it; kT5: all beyond share a bucket
  int64_t num_buckets = 32;  // kT5, both directions together (causal: one direction)
  int64_t table_length = 0;  // kTable: longest n; the table has 2n - 1 offsets
  BeyondTable beyond = BeyondTable::kRefuse;  // kTable
};

struct AttentionConfig {
  FeatureKind features = FeatureKind::kPrf;
  // Rows of the projection (kTrf yields twice as many features); kElu, kSoftmax: 0, unused.
  int64_t num_features = 64;
  uint64_t feature_seed = 0;  // provenance only: the projection is stored, never redrawn
  // true: x^ = scale * x / |x|. false: x^ = x * d^(-1/4), stabilised by maxima (kPrf, kSphere).
  bool qk_norm = true;
  double scale = 1.0;
  bool causal = false;
  BiasConfig bias;
  // attention.interpolation.max_error: how far the weights c may be from their interpolation,
  // relative to themselves. 0: the model does not ask for that route.
  double interpolation_error = 0;
  // longwave.json's `route`: taken instead of the planner's choice at every length where it may be
  // had. kAuto: the planner's.
  Route preferred_route = Route::kAuto;
};

// Embeddings of hashed n-grams, as in the Byte Latent Transformer (arXiv 2412.09871,
// section 3.2.1); config.json's `ngrams`. At token i the embedding gets P times the sum of one row
// of the table for each size s <= i + 1: that of the n-gram of ids i - s + 1 .. i. Its number, all
// of it modulo 2^64: h = s; for each id, first to last, h = (h + id + 1) * 0x9E3779B97F4A7C15 and
// then h = h ^ (h >> 32); the row is (h & 0xffffffff) % buckets. All sizes share the table.
struct NgramConfig {
  std::vector<int64_t> sizes;  // ascending; empty: the model has none
  int64_t buckets = 0;         // rows of the table
  int64_t dim = 0;             // their width, before P
};

// Embeddings of whole words of bytes; config.json's `words`. Ids 0 to 255 are bytes, all others
// stand between words. A word is a longest run of letters (ASCII's and all bytes from 128 on) or of
// ASCII digits, of at most 64 bytes. At its last token the embedding gets Q times one row of the
// table if its key is in the vocabulary. The key, modulo 2^64 but for the end: h = 0; for each
// byte, letters of ASCII in lower case, h = (h + byte + 1) * 0x9E3779B97F4A7C15 and then h = h ^ (h
// >> 32); the key is h & 0xffffffff, the row its place among the keys, which are stored in
// ascending order as four numbers each: the key's bytes, least first.
struct WordConfig {
  static constexpr int64_t kMaxBytes = 64;  // of a word
  static constexpr int64_t kKeyBytes = 4;

  int64_t count = 0;  // keys, rows of the table; 0: the model has none
  int64_t dim = 0;    // width of a row, before Q
};

// config.json, validated. Keys are Hugging Face's where they exist.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t head_dim = 0;  // hidden_size / num_heads unless given
  int64_t intermediate_size = 0;
  int64_t vocab_size = 0;
  int64_t max_tokens = 0;  // max_position_embeddings
  Activation activation = Activation::kGelu;
  NormPosition norm_position = NormPosition::kPre;
  bool final_norm = true;       // after the last layer; only with kPre
  bool use_bias = true;         // biases in the linear layers and norms
  bool embedding_norm = false;  // a norm right after token + position
  double layer_norm_eps = 1e-5;
  PositionKind positions = PositionKind::kNone;
  int64_t position_table_length = 0;  // kLearned
  NgramConfig ngrams;
  WordConfig words;
  AttentionConfig attention;
  std::vector<int64_t> matryoshka_dims;

  // Features per head: num_features, twice that for kTrf, head_dim for kElu, 0 for kSoftmax.
  int64_t features_per_head() const;
  bool has_final_norm() const { return norm_position == NormPosition::kPre && final_norm; }
  bool signed_features() const { return attention.features == FeatureKind::kTrf; }
};

// Parses and validates. INVALID_ARGUMENT lists every problem at once, one a line, each naming the
// key, the value and what is accepted. Unknown keys and values are problems.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_MODEL_CONFIG_H_
