#include "model/weights/model_config.h"

#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Smallest() {
  return json{{"model_type", "longwave-nprf"}, {"hidden_size", 64},        {"num_hidden_layers", 2},
              {"num_attention_heads", 4},      {"intermediate_size", 128}, {"vocab_size", 260},
              {"max_position_embeddings", 512}};
}

json With(const char* pointer, json value) {
  json config = Smallest();
  config[json::json_pointer(pointer)] = std::move(value);
  return config;
}

std::string ProblemsOf(const json& config) {
  const auto parsed = ParseModelConfig(config.dump());
  if (parsed.ok()) return "accepted";
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

int Lines(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

TEST(ParseModelConfig, SmallestHasDefaults) {
  const auto config = ParseModelConfig(Smallest().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_size, 64);
  EXPECT_EQ(config->num_layers, 2);
  EXPECT_EQ(config->num_heads, 4);
  EXPECT_EQ(config->head_dim, 16);
  EXPECT_EQ(config->max_tokens, 512);
  EXPECT_EQ(config->activation, Activation::kGelu);
  EXPECT_EQ(config->norm_position, NormPosition::kPre);
  EXPECT_TRUE(config->has_final_norm());
  EXPECT_TRUE(config->use_bias);
  EXPECT_FALSE(config->embedding_norm);
  EXPECT_EQ(config->layer_norm_eps, 1e-5);
  EXPECT_EQ(config->positions, PositionKind::kNone);
  EXPECT_TRUE(config->ngrams.sizes.empty());
  EXPECT_EQ(config->attention.features, FeatureKind::kPrf);
  EXPECT_EQ(config->attention.num_features, 64);
  EXPECT_TRUE(config->attention.qk_norm);
  EXPECT_EQ(config->attention.scale, 1);
  EXPECT_FALSE(config->attention.causal);
  EXPECT_EQ(config->attention.bias.kind, BiasKind::kNone);
}

TEST(ParseModelConfig, EveryKeyIsRead) {
  const auto config = ParseModelConfig(R"({
    "model_type": "longwave-nprf", "architectures": ["LongwaveNprfModel"],
    "torch_dtype": "bfloat16", "hidden_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 2, "head_dim": 32, "intermediate_size": 200, "hidden_act": "swiglu",
    "layer_norm_eps": 1e-6, "vocab_size": 300, "max_position_embeddings": 1000,
    "norm_position": "post", "use_bias": false, "embedding_norm": true,
    "positions": {"kind": "learned", "table_length": 1000}, "matryoshka_dimensions": [16, 48],
    "ngrams": {"sizes": [3, 4, 16], "buckets": 16777216, "dim": 96},
    "attention": {"features": {"kind": "trf", "num_features": 24, "seed": 9}, "qk_norm": true,
      "scale": 1.5, "causal": true, "bias": {"kind": "table", "shared_layers": false,
      "table_length": 800, "beyond": "clip"}}})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->head_dim, 32);
  EXPECT_EQ(config->intermediate_size, 200);
  EXPECT_EQ(config->activation, Activation::kSwiglu);
  EXPECT_EQ(config->layer_norm_eps, 1e-6);
  EXPECT_EQ(config->norm_position, NormPosition::kPost);
  EXPECT_FALSE(config->has_final_norm());
  EXPECT_FALSE(config->use_bias);
  EXPECT_TRUE(config->embedding_norm);
  EXPECT_EQ(config->positions, PositionKind::kLearned);
  EXPECT_EQ(config->position_table_length, 1000);
  EXPECT_THAT(config->matryoshka_dims, testing::ElementsAre(16, 48));
  EXPECT_THAT(config->ngrams.sizes, testing::ElementsAre(3, 4, 16));
  EXPECT_EQ(config->ngrams.buckets, 16777216);
  EXPECT_EQ(config->ngrams.dim, 96);
  EXPECT_EQ(config->attention.features, FeatureKind::kTrf);
  EXPECT_EQ(config->features_per_head(), 48);
  EXPECT_TRUE(config->signed_features());
  EXPECT_EQ(config->attention.feature_seed, 9u);
  EXPECT_EQ(config->attention.scale, 1.5);
  EXPECT_TRUE(config->attention.causal);
  EXPECT_EQ(config->attention.bias.kind, BiasKind::kTable);
  EXPECT_FALSE(config->attention.bias.shared_layers);
  EXPECT_EQ(config->attention.bias.table_length, 800);
  EXPECT_EQ(config->attention.bias.beyond, BeyondTable::kClip);
}

TEST(ParseModelConfig, FeaturesPerHead) {
  const std::pair<const char*, int64_t> kinds[] = {
      {"prf", 64}, {"trf", 128}, {"sphere", 64}, {"elu", 16}, {"softmax", 0}};
  for (const auto& [kind, features] : kinds) {
    const auto config = ParseModelConfig(With("/attention/features/kind", kind).dump());
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->features_per_head(), features) << kind;
  }
}

struct Refused {
  const char* pointer;
  json value;
  const char* problem;
};

TEST(ParseModelConfig, OneProblemNamesKeyValueAndWhatIsAccepted) {
  const Refused table[] = {
      {"/hidden_size", -3, "hidden_size = -3: accepted: an integer in [1, 65536]"},
      {"/hidden_size", 64.0, "hidden_size = 64.0: accepted: an integer in"},
      {"/hidden_size", "64", "hidden_size = \"64\": accepted: an integer in"},
      {"/hidden_size", nullptr, "hidden_size = null: accepted: an integer in"},
      {"/hidden_size", 66, "hidden_size = 66: accepted without head_dim: a multiple of"},
      {"/num_hidden_layers", 0, "num_hidden_layers = 0: accepted: an integer in [1, 1024]"},
      {"/num_hidden_layers", 18446744073709551615u, "num_hidden_layers = 18446744073709551615: "},
      {"/head_dim", 0, "head_dim = 0: accepted: an integer in [1, 4096]"},
      {"/vocab_size", 1e30, "vocab_size = 1e+30: accepted: an integer in"},
      {"/hidden_act", "silu", "hidden_act = \"silu\": accepted: one of gelu, gelu_tanh, relu, "},
      {"/hidden_act", 3, "hidden_act = 3: accepted: one of gelu, "},
      {"/layer_norm_eps", 0, "layer_norm_eps = 0: accepted: a number above 0, at most 0.1"},
      {"/layer_norm_eps", "1e-5", "layer_norm_eps = \"1e-5\": accepted: a number"},
      {"/norm_position", "both", "norm_position = \"both\": accepted: one of pre, post"},
      {"/final_norm", "no", "final_norm = \"no\": accepted: true or false"},
      {"/use_bias", 1, "use_bias = 1: accepted: true or false"},
      {"/model_type", "bert", "model_type = \"bert\": accepted: one of longwave-nprf"},
      {"/torch_dtype", "int8", "torch_dtype = \"int8\": accepted: one of float32, float16, "},
      {"/architectures", json::array({"BertModel"}), "architectures = [\"BertModel\"]: accepted: "},
      {"/architectures", "BertModel", "architectures = \"BertModel\": accepted: an array"},
      {"/dropout", 0.1, "'dropout' = 0.1: unknown key: known: architectures, attention, "},
      {"/positions", 5, "positions = 5: accepted: an object"},
      {"/positions", json::array(), "positions = []: accepted: an object"},
      {"/positions/kind", "rotary", "positions.kind = \"rotary\": accepted: one of none, learned"},
      {"/positions/kind", "learned", "positions.table_length is missing: accepted: an integer"},
      {"/positions/table_length", 9, "positions.table_length = 9: accepted: nothing: the key is"},
      {"/positions/step", 9, "positions.'step' = 9: unknown key: known: kind, table_length"},
      {"/positions", json{{"kind", "learned"}, {"table_length", 511}},
       "max_position_embeddings = 512: accepted with learned positions: at most "
       "positions.table_length = 511"},
      {"/ngrams", 3, "ngrams = 3: accepted: an object or null"},
      {"/ngrams", json{{"buckets", 9}, {"dim", 8}},
       "ngrams.sizes is missing: accepted: an array of"},
      {"/ngrams", json{{"sizes", {3}}, {"dim", 8}},
       "ngrams.buckets is missing: accepted: an integ"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 9}},
       "ngrams.dim is missing: accepted: an integ"},
      {"/ngrams", json{{"sizes", json::array()}, {"buckets", 9}, {"dim", 8}},
       "ngrams.sizes = []: accepted: an array of at least 1 integers in [2, 16]"},
      {"/ngrams", json{{"sizes", {1, 3}}, {"buckets", 9}, {"dim", 8}}, "ngrams.sizes = [1,3]: acc"},
      {"/ngrams", json{{"sizes", {3, 17}}, {"buckets", 9}, {"dim", 8}}, "ngrams.sizes = [3,17]: a"},
      {"/ngrams", json{{"sizes", {3, 3}}, {"buckets", 9}, {"dim", 8}},
       "ngrams.sizes = [3,3]: accepted: sizes in ascending order, each of them once"},
      {"/ngrams", json{{"sizes", {4, 3}}, {"buckets", 9}, {"dim", 8}},
       "ngrams.sizes = [4,3]: accepted: sizes in ascending order, each of them once"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 0}, {"dim", 8}},
       "ngrams.buckets = 0: accepted: an integer in [1, 16777216]"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 16777217}, {"dim", 8}},
       "ngrams.buckets = 16777217: accepted: an integer in [1, 16777216]"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 9}, {"dim", 0}}, "ngrams.dim = 0: accepted: an"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 9}, {"dim", 65}},
       "ngrams.dim = 65: accepted: at most hidden_size = 64"},
      {"/ngrams", json{{"sizes", {3}}, {"buckets", 9}, {"dim", 8}, {"seed", 1}},
       "ngrams.'seed' = 1: unknown key: known: buckets, dim, sizes"},
      {"/words", 3, "words = 3: accepted: an object or null"},
      {"/words", json{{"dim", 8}}, "words.count is missing: accepted: an integer"},
      {"/words", json{{"count", 9}}, "words.dim is missing: accepted: an integer"},
      {"/words", json{{"count", 0}, {"dim", 8}},
       "words.count = 0: accepted: an integer in [1, 16777216]"},
      {"/words", json{{"count", 16777217}, {"dim", 8}}, "words.count = 16777217: accepted: an"},
      {"/words", json{{"count", 9}, {"dim", 65}},
       "words.dim = 65: accepted: at most hidden_size = 64"},
      {"/words", json{{"count", 9}, {"dim", 8}, {"seed", 1}},
       "words.'seed' = 1: unknown key: known: count, dim"},
      {"/attention/qk_norm", "yes", "attention.qk_norm = \"yes\": accepted: true or false"},
      {"/attention/scale", 8.5, "attention.scale = 8.5: accepted: a number above 0, at most 8"},
      {"/attention/scale", -1, "attention.scale = -1: accepted: a number above 0"},
      {"/attention", json{{"qk_norm", false}, {"scale", 2}},
       "attention.scale = 2: accepted: nothing: the key is not used unless attention.qk_norm"},
      {"/attention/features/kind", "rff", "attention.features.kind = \"rff\": accepted: one of "},
      {"/attention/features/num_features", 0, "attention.features.num_features = 0: accepted: "},
      {"/attention/features/seed", -1, "attention.features.seed = -1: accepted: an integer in [0"},
      {"/attention/features", json{{"kind", "elu"}, {"num_features", 8}},
       "attention.features.num_features = 8: accepted: nothing: the key is not used by features "
       "of kind elu"},
      {"/attention/bias/kind", "rope", "attention.bias.kind = \"rope\": accepted: one of none, "},
      {"/attention/bias/max_distance", 8, "attention.bias.max_distance = 8: accepted: nothing"},
      {"/attention/bias/shared_layers", true, "attention.bias.shared_layers = true: accepted: no"},
      {"/attention/bias", json{{"kind", "clipped"}, {"max_distance", 0}},
       "attention.bias.max_distance = 0: accepted: an integer in [1, "},
      {"/attention/bias", json{{"kind", "clipped"}, {"num_buckets", 8}},
       "attention.bias.num_buckets = 8: accepted: nothing: the key is not used by a bias of kind "},
      {"/attention/bias", json{{"kind", "table"}}, "attention.bias.table_length is missing"},
      {"/attention/bias", json{{"kind", "table"}, {"table_length", 100}},
       "max_position_embeddings = 512: accepted with attention.bias.beyond refuse: at most "},
      {"/attention/bias", json{{"kind", "table"}, {"table_length", 512}, {"beyond", "wrap"}},
       "attention.bias.beyond = \"wrap\": accepted: one of refuse, clip"},
      {"/attention/bias", json{{"kind", "t5"}, {"num_buckets", 9}},
       "attention.bias.num_buckets = 9: accepted: an even number"},
      {"/attention/bias", json{{"kind", "t5"}, {"num_buckets", 2}},
       "attention.bias.num_buckets = 2: accepted: an integer in [4, "},
      {"/attention/bias", json{{"kind", "t5"}, {"max_distance", 8}},
       "attention.bias.max_distance = 8: accepted: more than 8 with num_buckets = 32"},
      {"/matryoshka_dimensions", json::array({32, 65}), "matryoshka_dimensions = [32,65]: accepte"},
      {"/matryoshka_dimensions", json::array({32, 32}), "matryoshka_dimensions = [32,32]: accepte"},
      {"/matryoshka_dimensions", json::array({"32"}), "matryoshka_dimensions = [\"32\"]: accepted"},
      {"/matryoshka_dimensions", 32, "matryoshka_dimensions = 32: accepted: an array of integers"},
  };
  for (const Refused& row : table) {
    const std::string problems = ProblemsOf(With(row.pointer, row.value));
    EXPECT_THAT(problems, HasSubstr(std::string("\n") + row.problem));
    EXPECT_EQ(Lines(problems), 1) << problems;
  }
}

TEST(ParseModelConfig, EveryRequiredKeyIsNamedWhenAbsent) {
  const std::string problems = ProblemsOf(json::object());
  const json smallest = Smallest();
  for (const auto& [key, value] : smallest.items()) {
    EXPECT_THAT(problems, HasSubstr("\n" + key + " is missing: accepted: "));
  }
  EXPECT_EQ(Lines(problems), static_cast<int>(smallest.size())) << problems;
}

TEST(ParseModelConfig, AllProblemsAtOnce) {
  json config = Smallest();
  config["hidden_size"] = -1;
  config["hiden_act"] = "gelu";
  config["attention"] = {{"bias", {{"kind", "t5"}, {"num_buckets", 7}}}, {"causal", 0}};
  config.erase("vocab_size");
  const std::string problems = ProblemsOf(config);
  for (const char* part :
       {"hidden_size = -1", "'hiden_act' = \"gelu\": unknown", "attention.bias.num_buckets = 7",
        "attention.causal = 0", "vocab_size is missing"}) {
    EXPECT_THAT(problems, HasSubstr(part));
  }
  EXPECT_EQ(Lines(problems), 5) << problems;
}

TEST(ParseModelConfig, CrossChecksThatHold) {
  EXPECT_EQ(ProblemsOf(With("/attention/bias",
                            json{{"kind", "table"}, {"table_length", 100}, {"beyond", "clip"}})),
            "accepted");
  EXPECT_EQ(ProblemsOf(With("/attention/bias", json{{"kind", "t5"}, {"max_distance", 9}})),
            "accepted");
  json causal = With("/attention/bias", json{{"kind", "t5"}, {"num_buckets", 2}});
  causal["attention"]["causal"] = true;
  EXPECT_EQ(ProblemsOf(causal), "accepted");
}

TEST(ParseModelConfig, FinalNormIsOfPreNormAlone) {
  const absl::StatusOr<ModelConfig> config = ParseModelConfig(With("/final_norm", false).dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_FALSE(config->has_final_norm());
  json post = With("/final_norm", false);
  post["norm_position"] = "post";
  EXPECT_THAT(ProblemsOf(post), HasSubstr("final_norm = false: accepted: nothing: the key is not "
                                          "used unless norm_position is pre"));
}

TEST(ParseModelConfig, InterpolationIsAskedForByItsError) {
  const absl::StatusOr<ModelConfig> config =
      ParseModelConfig(With("/attention/interpolation", json{{"max_error", 1e-3}}).dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->attention.interpolation_error, 1e-3);
  EXPECT_THAT(ProblemsOf(With("/attention/interpolation", json::object())),
              HasSubstr("attention.interpolation.max_error is missing"));
  for (const double error : {0.0, -1e-3, 0.2}) {
    EXPECT_THAT(ProblemsOf(With("/attention/interpolation", json{{"max_error", error}})),
                HasSubstr("attention.interpolation.max_error = "));
  }
  EXPECT_THAT(ProblemsOf(With("/attention/interpolation", json{{"max_error", 1e-3}, {"r", 5}})),
              HasSubstr("attention.interpolation.'r' = 5: unknown"));
  json unnormalised = With("/attention/interpolation", json{{"max_error", 1e-3}});
  unnormalised["attention"]["qk_norm"] = false;
  EXPECT_THAT(ProblemsOf(unnormalised), HasSubstr("attention.interpolation"));
}

TEST(ParseModelConfig, AllProblemsOfNgramsAtOnceAndNullIsNone) {
  const std::string problems =
      ProblemsOf(With("/ngrams", json{{"sizes", {5, 5}}, {"buckets", -1}, {"dim", 70}, {"n", 1}}));
  for (const char* part :
       {"ngrams.sizes = [5,5]", "ngrams.buckets = -1", "ngrams.dim = 70", "ngrams.'n' = 1"}) {
    EXPECT_THAT(problems, HasSubstr(part));
  }
  EXPECT_EQ(Lines(problems), 4) << problems;
  const auto none = ParseModelConfig(With("/ngrams", nullptr).dump());
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_TRUE(none->ngrams.sizes.empty());
}

TEST(ParseModelConfig, WordsAreOfBytesAndLookAhead) {
  json config = With("/words", json{{"count", 9}, {"dim", 8}});
  config["vocab_size"] = 256;
  const auto parsed = ParseModelConfig(config.dump());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->words.count, 9);
  EXPECT_EQ(parsed->words.dim, 8);
  config["vocab_size"] = 255;
  EXPECT_THAT(ProblemsOf(config),
              HasSubstr("vocab_size = 255: accepted: with words: at least 256"));
  config["vocab_size"] = 256;
  config["attention"]["causal"] = true;
  EXPECT_THAT(ProblemsOf(config), HasSubstr("attention.causal = true: accepted with words: false"));
  const auto none = ParseModelConfig(With("/words", nullptr).dump());
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(none->words.count, 0);
}

TEST(ParseModelConfig, OddWidthsTakeNoSinusoids) {
  json config = With("/positions/kind", "sinusoidal");
  EXPECT_EQ(ProblemsOf(config), "accepted");
  config["hidden_size"] = 63;
  config["num_attention_heads"] = 3;
  EXPECT_THAT(ProblemsOf(config), HasSubstr("hidden_size = 63: accepted with sinusoidal"));
}

TEST(ParseModelConfig, TextThatIsNoConfig) {
  const std::string deep(100000, '[');
  const std::pair<std::string, const char*> table[] = {
      {"", "not valid JSON near byte"},
      {"[1, 2]", "not a JSON object"},
      {"null", "not a JSON object"},
      {"{\"hidden_size\": NaN}", "not valid JSON near byte"},
      {"{\"hidden_size\": 1e999}", "not valid JSON near byte"},
      {"{\"hidden_size\": 64", "not valid JSON near byte"},
      {"{\"hidden_size\": 64} x", "not valid JSON near byte"},
      {"{\"a\": \"\xff\"}", "not valid JSON near byte"},
      {"\xEF\xBB\xBF{}", "byte order mark"},
      {"{\"vocab_size\": 1, \"vocab_size\": 2}", "the key 'vocab_size' appears twice"},
      {"{\"a\": {\"b\\n\": 1, \"b\\n\": 2}}", "the key 'b\\n' appears twice"},
      {"{\"a\": " + deep, "nested deeper than 32"},
      {std::string("{\"a\":\0}", 7), "not valid JSON near byte"},
  };
  for (const auto& [text, problem] : table) {
    const auto config = ParseModelConfig(text);
    ASSERT_FALSE(config.ok()) << text;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(problem)) << text;
  }
}

TEST(ParseModelConfig, HostileKeysAreEscapedAndTheListIsBounded) {
  json config = Smallest();
  config["a\r\n\x1b[31m\"" + std::string(5000, 'x')] = 1;
  const std::string one = ProblemsOf(config);
  EXPECT_THAT(one, HasSubstr("'a\\r\\n\\x1b[31m\\\"xxx"));
  EXPECT_LT(one.size(), 1000);
  for (int i = 0; i < 5000; ++i) config["key" + std::to_string(i)] = i;
  const std::string many = ProblemsOf(config);
  EXPECT_THAT(many, HasSubstr("\nand 4901 more"));
  EXPECT_LT(many.size(), 100000);
}

}  // namespace
}  // namespace longwave
