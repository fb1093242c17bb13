#include "model/weights/model_config.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/weights/json_fields.h"

namespace longwave {
namespace {

// Bounds that keep every product of two sizes far inside int64; no model comes near them.
constexpr int64_t kMaxWidth = 1 << 16;
constexpr int64_t kMaxIntermediate = 1 << 20;
constexpr int64_t kMaxLayers = 1 << 10;
constexpr int64_t kMaxHeads = 1 << 10;
constexpr int64_t kMaxHeadDim = 1 << 12;
constexpr int64_t kMaxFeatures = 1 << 14;
constexpr int64_t kMaxVocabulary = 1 << 24;
constexpr int64_t kMaxTokens = 1 << 28;
constexpr int64_t kMaxBuckets = 1 << 12;
constexpr int64_t kMaxNgram = 16;
constexpr int64_t kMaxNgramBuckets = 1 << 24;
constexpr int64_t kMaxWords = 1 << 24;
constexpr int64_t kBytes = 256;
// Features of normalised vectors need no stabiliser only while exp(scale |w|) stays within fp32.
constexpr double kMaxScale = 8;
// Beyond, the bound of the outputs says little.
constexpr double kMaxInterpolationError = 0.1;

template <typename Value, size_t kSize>
using NameTable = std::array<std::pair<absl::string_view, Value>, kSize>;

constexpr NameTable<bool, 1> kModelTypes = {{{"longwave-nprf", true}}};
constexpr NameTable<bool, 3> kDtypes = {{{"float32", true}, {"float16", true}, {"bfloat16", true}}};
constexpr NameTable<Activation, 4> kActivations = {{{"gelu", Activation::kGelu},
                                                    {"gelu_tanh", Activation::kGeluTanh},
                                                    {"relu", Activation::kRelu},
                                                    {"swiglu", Activation::kSwiglu}}};
constexpr NameTable<NormPosition, 2> kNormPositions = {
    {{"pre", NormPosition::kPre}, {"post", NormPosition::kPost}}};
constexpr NameTable<PositionKind, 3> kPositionKinds = {{{"none", PositionKind::kNone},
                                                        {"learned", PositionKind::kLearned},
                                                        {"sinusoidal", PositionKind::kSinusoidal}}};
constexpr NameTable<FeatureKind, 5> kFeatureKinds = {{{"prf", FeatureKind::kPrf},
                                                      {"trf", FeatureKind::kTrf},
                                                      {"sphere", FeatureKind::kSphere},
                                                      {"elu", FeatureKind::kElu},
                                                      {"softmax", FeatureKind::kSoftmax}}};
constexpr NameTable<BiasKind, 5> kBiasKinds = {{{"none", BiasKind::kNone},
                                                {"table", BiasKind::kTable},
                                                {"clipped", BiasKind::kClipped},
                                                {"t5", BiasKind::kT5},
                                                {"alibi", BiasKind::kAlibi}}};
constexpr NameTable<BeyondTable, 2> kBeyond = {
    {{"refuse", BeyondTable::kRefuse}, {"clip", BeyondTable::kClip}}};

template <typename Value, size_t kSize>
absl::string_view NameOf(const NameTable<Value, kSize>& names, Value value) {
  for (const auto& [name, known] : names) {
    if (known == value) return name;
  }
  return "";
}

// Keys that describe the file and change nothing in what is computed.
void ReadLabels(JsonFields& fields) {
  fields.Choice<bool>("model_type", std::nullopt, kModelTypes);
  fields.Choice<bool>("torch_dtype", false, kDtypes);
  for (const nlohmann::json& name : fields.Array("architectures", /*required=*/false)) {
    if (name != "LongwaveNprfModel") {
      fields.Refuse("architectures", "[\"LongwaveNprfModel\"]");
      return;
    }
  }
}

void ReadSizes(JsonFields& fields, ModelConfig& config, Problems& problems) {
  config.hidden_size = fields.Integer("hidden_size", std::nullopt, 1, kMaxWidth);
  config.num_layers = fields.Integer("num_hidden_layers", std::nullopt, 1, kMaxLayers);
  config.num_heads = fields.Integer("num_attention_heads", std::nullopt, 1, kMaxHeads);
  config.intermediate_size = fields.Integer("intermediate_size", std::nullopt, 1, kMaxIntermediate);
  config.vocab_size = fields.Integer("vocab_size", std::nullopt, 1, kMaxVocabulary);
  config.max_tokens = fields.Integer("max_position_embeddings", std::nullopt, 1, kMaxTokens);
  const int64_t given_head_dim = fields.Integer("head_dim", 0, 1, kMaxHeadDim);
  config.head_dim = given_head_dim;
  if (fields.Has("head_dim") || config.hidden_size == 0 || config.num_heads == 0) return;
  config.head_dim = config.hidden_size / config.num_heads;
  if (config.hidden_size % config.num_heads != 0) {
    problems.Add(absl::StrCat(
        "hidden_size = ", config.hidden_size,
        ": accepted without head_dim: a multiple of num_attention_heads = ", config.num_heads));
  }
}

void ReadShape(JsonFields& fields, ModelConfig& config) {
  config.activation = fields.Choice<Activation>("hidden_act", Activation::kGelu, kActivations);
  config.norm_position =
      fields.Choice<NormPosition>("norm_position", NormPosition::kPre, kNormPositions);
  if (config.norm_position == NormPosition::kPre) {
    config.final_norm = fields.Boolean("final_norm", true);
  } else {
    fields.Unused("final_norm", "unless norm_position is pre");
  }
  config.use_bias = fields.Boolean("use_bias", true);
  config.embedding_norm = fields.Boolean("embedding_norm", false);
  config.layer_norm_eps = fields.Number("layer_norm_eps", 1e-5, 0, 0.1);
}

void ReadPositions(JsonFields fields, ModelConfig& config, Problems& problems) {
  config.positions = fields.Choice<PositionKind>("kind", PositionKind::kNone, kPositionKinds);
  if (config.positions == PositionKind::kLearned) {
    config.position_table_length = fields.Integer("table_length", std::nullopt, 1, kMaxTokens);
    if (config.position_table_length > 0 && config.max_tokens > config.position_table_length) {
      problems.Add(absl::StrCat("max_position_embeddings = ", config.max_tokens,
                                ": accepted with learned positions: at most "
                                "positions.table_length = ",
                                config.position_table_length));
    }
  } else {
    fields.Unused("table_length", "unless positions.kind is learned");
  }
  if (config.positions == PositionKind::kSinusoidal && config.hidden_size % 2 != 0) {
    problems.Add(absl::StrCat("hidden_size = ", config.hidden_size,
                              ": accepted with sinusoidal positions: an even number"));
  }
  fields.RefuseUnknown();
}

void ReadNgrams(JsonFields& fields, ModelConfig& config) {
  std::optional<JsonFields> given = fields.OptionalObject("ngrams");
  if (!given.has_value()) return;
  NgramConfig& ngrams = config.ngrams;
  ngrams.sizes = given->Integers("sizes", 2, kMaxNgram, /*min_count=*/1);
  if (std::adjacent_find(ngrams.sizes.begin(), ngrams.sizes.end(), std::greater_equal<>()) !=
      ngrams.sizes.end()) {
    given->Refuse("sizes", "sizes in ascending order, each of them once");
  }
  ngrams.buckets = given->Integer("buckets", std::nullopt, 1, kMaxNgramBuckets);
  ngrams.dim = given->Integer("dim", std::nullopt, 1, kMaxWidth);
  if (config.hidden_size > 0 && ngrams.dim > config.hidden_size) {
    given->Refuse("dim", absl::StrCat("at most hidden_size = ", config.hidden_size));
  }
  given->RefuseUnknown();
}

void ReadWords(JsonFields& fields, ModelConfig& config, Problems& problems) {
  std::optional<JsonFields> given = fields.OptionalObject("words");
  if (!given.has_value()) return;
  WordConfig& words = config.words;
  words.count = given->Integer("count", std::nullopt, 1, kMaxWords);
  words.dim = given->Integer("dim", std::nullopt, 1, kMaxWidth);
  if (config.hidden_size > 0 && words.dim > config.hidden_size) {
    given->Refuse("dim", absl::StrCat("at most hidden_size = ", config.hidden_size));
  }
  given->RefuseUnknown();
  if (config.vocab_size > 0 && config.vocab_size < kBytes) {
    fields.Refuse("vocab_size",
                  absl::StrCat("with words: at least ", kBytes, ", since ids below are bytes"));
  }
  if (config.attention.causal) {
    problems.Add(
        "attention.causal = true: accepted with words: false, since only what follows a word tells "
        "that it has ended");
  }
}

void ReadFeatures(JsonFields fields, AttentionConfig& attention) {
  attention.features = fields.Choice<FeatureKind>("kind", FeatureKind::kPrf, kFeatureKinds);
  if (attention.features == FeatureKind::kElu || attention.features == FeatureKind::kSoftmax) {
    const std::string why =
        absl::StrCat("by features of kind ", NameOf(kFeatureKinds, attention.features));
    fields.Unused("num_features", why);
    fields.Unused("seed", why);
    attention.num_features = 0;
  } else {
    attention.num_features = fields.Integer("num_features", 64, 1, kMaxFeatures);
    attention.feature_seed = fields.Integer("seed", 0, 0, INT64_MAX);
  }
  fields.RefuseUnknown();
}

void ReadTable(JsonFields& fields, int64_t max_tokens, BiasConfig& bias, Problems& problems) {
  bias.table_length = fields.Integer("table_length", std::nullopt, 1, kMaxTokens);
  bias.beyond = fields.Choice<BeyondTable>("beyond", BeyondTable::kRefuse, kBeyond);
  if (bias.beyond == BeyondTable::kRefuse && bias.table_length > 0 &&
      max_tokens > bias.table_length) {
    problems.Add(absl::StrCat("max_position_embeddings = ", max_tokens,
                              ": accepted with attention.bias.beyond refuse: at most "
                              "attention.bias.table_length = ",
                              bias.table_length));
  }
}

// Buckets: one half per direction (one direction only if causal), and in each half one half for
// single offsets and one for logarithmic ranges up to max_distance.
void ReadT5(JsonFields& fields, bool causal, BiasConfig& bias) {
  bias.num_buckets = fields.Integer("num_buckets", 32, causal ? 2 : 4, kMaxBuckets);
  bias.max_distance = fields.Integer("max_distance", 128, 1, kMaxTokens);
  if (bias.num_buckets % 2 != 0) {
    fields.Refuse("num_buckets", "an even number");
  }
  const int64_t single = bias.num_buckets / (causal ? 2 : 4);
  if (bias.max_distance <= single) {
    fields.Refuse("max_distance", absl::StrCat("more than ", single, " with num_buckets = ",
                                               bias.num_buckets, causal ? ", causal" : ""));
  }
}

void ReadBias(JsonFields fields, int64_t max_tokens, bool causal, BiasConfig& bias,
              Problems& problems) {
  bias.kind = fields.Choice<BiasKind>("kind", BiasKind::kNone, kBiasKinds);
  if (bias.kind != BiasKind::kNone) bias.shared_layers = fields.Boolean("shared_layers", true);
  if (bias.kind == BiasKind::kTable) ReadTable(fields, max_tokens, bias, problems);
  if (bias.kind == BiasKind::kT5) ReadT5(fields, causal, bias);
  if (bias.kind == BiasKind::kClipped) {
    bias.max_distance = fields.Integer("max_distance", 128, 1, kMaxTokens);
  }
  const std::string why = absl::StrCat("by a bias of kind ", NameOf(kBiasKinds, bias.kind));
  if (bias.kind == BiasKind::kNone) fields.Unused("shared_layers", why);
  if (bias.kind != BiasKind::kTable) {
    fields.Unused("table_length", why);
    fields.Unused("beyond", why);
  }
  if (bias.kind != BiasKind::kT5) {
    fields.Unused("num_buckets", why);
    if (bias.kind != BiasKind::kClipped) fields.Unused("max_distance", why);
  }
  fields.RefuseUnknown();
}

void ReadInterpolation(JsonFields& fields, AttentionConfig& attention) {
  if (attention.features == FeatureKind::kTrf || attention.features == FeatureKind::kSoftmax) {
    fields.Unused("interpolation",
                  absl::StrCat("by features of kind ", NameOf(kFeatureKinds, attention.features)));
  } else if (!attention.qk_norm) {
    fields.Unused("interpolation", "unless attention.qk_norm is true");
  } else if (fields.Has("interpolation")) {
    JsonFields interpolation = fields.Object("interpolation");
    attention.interpolation_error =
        interpolation.Number("max_error", std::nullopt, 0, kMaxInterpolationError);
    interpolation.RefuseUnknown();
  }
}

void ReadAttention(JsonFields fields, ModelConfig& config, Problems& problems) {
  AttentionConfig& attention = config.attention;
  ReadFeatures(fields.Object("features"), attention);
  attention.qk_norm = fields.Boolean("qk_norm", true);
  if (attention.qk_norm) {
    attention.scale = fields.Number("scale", 1.0, 0, kMaxScale);
  } else {
    fields.Unused("scale", "unless attention.qk_norm is true");
  }
  attention.causal = fields.Boolean("causal", false);
  ReadBias(fields.Object("bias"), config.max_tokens, attention.causal, attention.bias, problems);
  ReadInterpolation(fields, attention);
  fields.RefuseUnknown();
}

void ReadMatryoshka(JsonFields& fields, ModelConfig& config) {
  const std::string accepted = "increasing widths up to hidden_size";
  config.matryoshka_dims = fields.Integers("matryoshka_dimensions", 1, kMaxWidth);
  int64_t previous = 0;
  for (const int64_t dim : config.matryoshka_dims) {
    if (dim <= previous || (config.hidden_size > 0 && dim > config.hidden_size)) {
      fields.Refuse("matryoshka_dimensions", accepted);
      return;
    }
    previous = dim;
  }
}

}  // namespace

int64_t ModelConfig::features_per_head() const {
  switch (attention.features) {
    case FeatureKind::kPrf:
    case FeatureKind::kSphere:
      return attention.num_features;
    case FeatureKind::kTrf:
      return 2 * attention.num_features;
    case FeatureKind::kElu:
      return head_dim;
    case FeatureKind::kSoftmax:
      return 0;
  }
  return 0;
}

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view json) {
  absl::StatusOr<nlohmann::json> root = ParseJsonObject(json);
  if (!root.ok()) return root.status();
  Problems problems;
  ModelConfig config;
  JsonFields fields(*root, "", &problems);
  ReadLabels(fields);
  ReadSizes(fields, config, problems);
  ReadShape(fields, config);
  ReadPositions(fields.Object("positions"), config, problems);
  ReadNgrams(fields, config);
  ReadAttention(fields.Object("attention"), config, problems);
  ReadWords(fields, config, problems);
  ReadMatryoshka(fields, config);
  fields.RefuseUnknown();
  if (!problems.empty()) return problems.ToStatus("the model's configuration has problems:");
  return config;
}

}  // namespace longwave
