#include "model/weights/weight_table.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using testing::ElementsAre;

ModelConfig Config() {
  ModelConfig config;
  config.hidden_size = 6;
  config.num_layers = 2;
  config.num_heads = 2;
  config.head_dim = 4;
  config.intermediate_size = 10;
  config.vocab_size = 20;
  config.max_tokens = 30;
  config.attention.num_features = 5;
  return config;
}

std::map<std::string, std::vector<int64_t>> Table(const ModelConfig& config) {
  std::map<std::string, std::vector<int64_t>> table;
  for (const ExpectedWeight& weight : ExpectedWeights(config)) {
    EXPECT_TRUE(table.emplace(weight.name, weight.shape).second) << weight.name << " twice";
  }
  return table;
}

TEST(ExpectedWeights, PlainModel) {
  const auto table = Table(Config());
  EXPECT_EQ(table.size(), 1u + 2 * 17 + 2);
  EXPECT_THAT(table.at("embeddings.token.weight"), ElementsAre(20, 6));
  EXPECT_THAT(table.at("layers.1.attention_norm.weight"), ElementsAre(6));
  EXPECT_THAT(table.at("layers.1.attention_norm.bias"), ElementsAre(6));
  for (const char* part : {"query", "key", "value"}) {
    const std::string name = std::string("layers.0.attention.") + part;
    EXPECT_THAT(table.at(name + ".weight"), ElementsAre(8, 6));
    EXPECT_THAT(table.at(name + ".bias"), ElementsAre(8));
  }
  EXPECT_THAT(table.at("layers.1.attention.output.weight"), ElementsAre(6, 8));
  EXPECT_THAT(table.at("layers.1.attention.output.bias"), ElementsAre(6));
  EXPECT_THAT(table.at("layers.1.attention.projection"), ElementsAre(2, 5, 4));
  EXPECT_THAT(table.at("layers.0.ffn_norm.weight"), ElementsAre(6));
  EXPECT_THAT(table.at("layers.0.ffn.up.weight"), ElementsAre(10, 6));
  EXPECT_THAT(table.at("layers.0.ffn.up.bias"), ElementsAre(10));
  EXPECT_THAT(table.at("layers.0.ffn.down.weight"), ElementsAre(6, 10));
  EXPECT_THAT(table.at("layers.0.ffn.down.bias"), ElementsAre(6));
  EXPECT_THAT(table.at("final_norm.weight"), ElementsAre(6));
  EXPECT_THAT(table.at("final_norm.bias"), ElementsAre(6));
}

TEST(ExpectedWeights, OptionsAddAndRemoveTensors) {
  const size_t plain = Table(Config()).size();
  ModelConfig config = Config();
  config.use_bias = false;
  EXPECT_EQ(Table(config).size(), 1u + 2 * 9 + 1);

  config = Config();
  config.norm_position = NormPosition::kPost;
  EXPECT_EQ(Table(config).count("final_norm.weight"), 0u);

  config = Config();
  config.final_norm = false;
  EXPECT_EQ(Table(config).size(), plain - 2);
  EXPECT_EQ(Table(config).count("final_norm.weight"), 0u);

  config = Config();
  config.positions = PositionKind::kLearned;
  config.position_table_length = 30;
  config.embedding_norm = true;
  auto table = Table(config);
  EXPECT_EQ(table.size(), plain + 3);
  EXPECT_THAT(table.at("embeddings.position.weight"), ElementsAre(30, 6));
  EXPECT_THAT(table.at("embeddings.norm.bias"), ElementsAre(6));

  config = Config();
  config.ngrams = {.sizes = {2, 3}, .buckets = 40, .dim = 5};
  table = Table(config);
  EXPECT_EQ(table.size(), plain + 2);
  EXPECT_THAT(table.at("embeddings.ngram.weight"), ElementsAre(40, 5));
  EXPECT_THAT(table.at("embeddings.ngram_projection.weight"), ElementsAre(6, 5));

  config = Config();
  config.words = {.count = 40, .dim = 5};
  table = Table(config);
  EXPECT_EQ(table.size(), plain + 3);
  EXPECT_THAT(table.at("embeddings.word_keys"), ElementsAre(40, 4));
  EXPECT_THAT(table.at("embeddings.word.weight"), ElementsAre(40, 5));
  EXPECT_THAT(table.at("embeddings.word_projection.weight"), ElementsAre(6, 5));

  config = Config();
  config.activation = Activation::kSwiglu;
  table = Table(config);
  EXPECT_EQ(table.size(), plain + 4);
  EXPECT_THAT(table.at("layers.1.ffn.gate.weight"), ElementsAre(10, 6));
  EXPECT_THAT(table.at("layers.1.ffn.gate.bias"), ElementsAre(10));

  config = Config();
  config.attention.features = FeatureKind::kElu;
  EXPECT_EQ(Table(config).size(), plain - 2);
  config.attention.features = FeatureKind::kSoftmax;
  EXPECT_EQ(Table(config).size(), plain - 2);
  config.attention.features = FeatureKind::kTrf;
  EXPECT_EQ(Table(config).size(), plain);
}

TEST(ExpectedWeights, EveryBiasKindSharedOrNot) {
  ModelConfig config = Config();
  BiasConfig& bias = config.attention.bias;
  bias.table_length = 9;
  bias.max_distance = 7;
  bias.num_buckets = 12;
  const std::pair<BiasKind, std::vector<int64_t>> table[] = {{BiasKind::kTable, {2, 17}},
                                                             {BiasKind::kClipped, {2, 15}},
                                                             {BiasKind::kT5, {2, 12}},
                                                             {BiasKind::kAlibi, {2}}};
  for (const auto& [kind, shape] : table) {
    bias.kind = kind;
    bias.shared_layers = true;
    EXPECT_EQ(Table(config).at("attention_bias"), shape);
    bias.shared_layers = false;
    EXPECT_EQ(Table(config).count("attention_bias"), 0u);
    EXPECT_EQ(Table(config).at("layers.0.attention.bias"), shape);
    EXPECT_EQ(Table(config).at("layers.1.attention.bias"), shape);
  }
}

}  // namespace
}  // namespace longwave
