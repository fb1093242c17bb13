#include "model/weights/model_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/weights/file.h"
#include "model/weights/weight_table.h"
#include "tests/unit/weights/safetensors_builder.h"

namespace longwave {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// A small sound model in a folder of its own; tests break one thing each.
class ModelFolderTest : public testing::Test {
 protected:
  ModelFolderTest() {
    path_ = testing::TempDir() + "model_folder_test." + std::to_string(getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directory(path_);
    config_ = {
        {"model_type", "longwave-nprf"}, {"hidden_size", 4},
        {"num_hidden_layers", 1},        {"num_attention_heads", 2},
        {"intermediate_size", 3},        {"vocab_size", 5},
        {"max_position_embeddings", 8},  {"attention", {{"features", {{"num_features", 3}}}}}};
    serving_ = {{"schema_version", 1},
                {"name", "tiny"},
                {"version", "7"},
                {"tokenizer", {{"kind", "byte"}, {"fingerprint", "byte:1"}}},
                {"default_pooling", "last"},
                {"default_normalize", false},
                {"provenance", "seeded"},
                {"license", "Apache-2.0"},
                {"goldens",
                 {{{"token_ids", {0, 4, 2}},
                   {"output", {{"pooling", "rows"}, {"layers", {0, 1}}, {"truncate_dim", 2}}},
                   {"rows", {2, 0}},
                   {"values", {{1, 2, 3, 4}, {5, 6, 7, 8.5}}},
                   {"tolerance", 1e-6}}}}};
    for (const ExpectedWeight& weight : ExpectedWeights(*ParseModelConfig(config_.dump()))) {
      int64_t count = 1;
      for (const int64_t extent : weight.shape) count *= extent;
      tensors_[weight.name] = {weight.shape, std::vector<float>(count, 0.5f)};
    }
  }
  ~ModelFolderTest() override { std::filesystem::remove_all(path_); }

  std::string WeightBytes() const {
    SafetensorsBuilder builder;
    for (const auto& [name, tensor] : tensors_) builder.Add(name, tensor.shape, tensor.values);
    return builder.Build();
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_ + "/" + name, std::ios::binary) << bytes;
  }
  void WriteAll() const {
    Write("config.json", config_.dump());
    Write("longwave.json", serving_.dump());
    Write("model.safetensors", WeightBytes());
  }
  std::string Problem() const {
    const auto model = LoadModelFolder(path_);
    return model.ok() ? "accepted" : std::string(model.status().message());
  }

  std::string path_;
  json config_;
  json serving_;
  WeightMap tensors_;
};

TEST_F(ModelFolderTest, SoundFolder) {
  serving_["weights_sha256"] = Sha256Hex(WeightBytes());
  serving_["limits"] = {{"max_tokens", 6}};
  serving_["route"] = "tiles";
  WriteAll();
  const auto model = LoadModelFolder(path_);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->config.hidden_size, 4);
  EXPECT_EQ(model->config.max_tokens, 6) << "lowered by limits";
  EXPECT_EQ(model->config.attention.preferred_route, Route::kTiles);
  EXPECT_EQ(model->serving.name, "tiny");
  EXPECT_EQ(model->serving.version, "7");
  EXPECT_EQ(model->serving.tokenizer_kind, "byte");
  EXPECT_EQ(model->serving.tokenizer_fingerprint, "byte:1");
  EXPECT_EQ(model->serving.default_pooling, Pooling::kLast);
  EXPECT_FALSE(model->serving.default_normalize);
  EXPECT_EQ(model->serving.provenance, "seeded");
  EXPECT_EQ(model->serving.license, "Apache-2.0");
  EXPECT_EQ(model->weights.size(), tensors_.size());
  EXPECT_EQ(model->weights.at("final_norm.bias").values, std::vector<float>(4, 0.5f));
  EXPECT_EQ(model->weights_digest, Sha256Hex(WeightBytes()));
  ASSERT_EQ(model->serving.goldens.size(), 1u);
  const GoldenVector& golden = model->serving.goldens[0];
  EXPECT_THAT(golden.token_ids, testing::ElementsAre(0, 4, 2));
  EXPECT_EQ(golden.output.pooling, Pooling::kRows);
  EXPECT_THAT(golden.output.layers, testing::ElementsAre(0, 1));
  EXPECT_EQ(golden.output.truncate_dim, 2);
  EXPECT_THAT(golden.rows, testing::ElementsAre(2, 0));
  EXPECT_THAT(golden.values, testing::ElementsAre(1, 2, 3, 4, 5, 6, 7, 8.5));
  EXPECT_EQ(golden.tolerance, 1e-6);
}

TEST_F(ModelFolderTest, AbsentFilesAreNamed) {
  for (const char* name : {"config.json", "longwave.json", "model.safetensors"}) {
    WriteAll();
    std::filesystem::remove(path_ + "/" + name);
    const absl::Status status = LoadModelFolder(path_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(name) + ": cannot be opened"));
  }
  EXPECT_EQ(LoadModelFolder(path_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelFolderTest, FoldersPipesAndHugeFilesAreRefused) {
  WriteAll();
  std::filesystem::remove(path_ + "/config.json");
  std::filesystem::create_directory(path_ + "/config.json");
  EXPECT_THAT(Problem(), HasSubstr("config.json: not a regular file"));
  std::filesystem::remove(path_ + "/config.json");
  ASSERT_EQ(mkfifo((path_ + "/config.json").c_str(), 0600), 0);
  EXPECT_THAT(Problem(), HasSubstr("config.json: not a regular file"));
  std::filesystem::remove(path_ + "/config.json");
  Write("config.json", "");
  ASSERT_EQ(truncate((path_ + "/config.json").c_str(), 1 << 30), 0);
  EXPECT_THAT(Problem(), HasSubstr("config.json: 1073741824 bytes; at most 1048576 are accepted"));
}

TEST_F(ModelFolderTest, ProblemsNameTheFile) {
  config_["hidden_act"] = "silu";
  WriteAll();
  EXPECT_THAT(Problem(),
              HasSubstr("config.json: the model's configuration has problems:\nhidden_"));
  config_.erase("hidden_act");
  serving_["name"] = "no spaces";
  WriteAll();
  EXPECT_THAT(Problem(),
              HasSubstr("longwave.json: the serving configuration has problems:\nname ="));
  serving_["name"] = "tiny";
  WriteAll();
  Write("model.safetensors", WeightBytes().substr(0, 300));
  EXPECT_THAT(Problem(), HasSubstr("model.safetensors: truncated: 300 bytes found, at least"));
}

// Catalogue row 54: every flipped bit is seen, wherever it is.
TEST_F(ModelFolderTest, FlippedBitsAreSeenByTheDigest) {
  const std::string sound = WeightBytes();
  serving_["weights_sha256"] = Sha256Hex(sound);
  WriteAll();
  EXPECT_EQ(Problem(), "accepted");
  std::mt19937 random(3);
  for (int flip = 0; flip < 100; ++flip) {
    std::string bytes = sound;
    bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
    Write("model.safetensors", bytes);
    EXPECT_THAT(Problem(), HasSubstr("model.safetensors: SHA-256 is "));
  }
}

// Catalogue row 55.
TEST_F(ModelFolderTest, TensorsMustBeTheExpectedOnes) {
  tensors_.erase("final_norm.bias");
  tensors_["extra"] = {{1}, {1}};
  tensors_["layers.0.ffn.up.weight"].shape = {4, 3};
  WriteAll();
  const std::string problem = Problem();
  EXPECT_THAT(problem, HasSubstr("\nfinal_norm.bias [4] is missing"));
  EXPECT_THAT(problem, HasSubstr("\n'extra' is not a tensor of this configuration"));
  EXPECT_THAT(problem, HasSubstr("\nlayers.0.ffn.up.weight has shape [4, 3]: expected [3, 4]"));
}

TEST_F(ModelFolderTest, WeightsMustBeFinite) {
  tensors_["final_norm.bias"].values[2] = std::numeric_limits<float>::infinity();
  WriteAll();
  EXPECT_THAT(Problem(), HasSubstr("model.safetensors: 'final_norm.bias': value 2 is not finite"));
}

struct Refused {
  const char* pointer;
  json value;
  const char* problem;
};

TEST_F(ModelFolderTest, ServingConfigIsChecked) {
  const json sound = serving_;
  const Refused table[] = {
      {"/schema_version", 2, "schema_version = 2: accepted: an integer in [1, 1]"},
      {"/name", "", "name = \"\": accepted: 1 to 64 of a-z"},
      {"/version", std::string(65, 'v'), "version = \"vvv"},
      {"/tokenizer", "byte", "tokenizer = \"byte\": accepted: an object"},
      {"/tokenizer/kind", "a b", "tokenizer.kind = \"a b\": accepted: 1 to 64"},
      {"/default_pooling", "cls", "default_pooling = \"cls\": accepted: one of mean, first, last"},
      {"/default_pooling", "rows", "default_pooling = \"rows\": accepted: a pooling to one vector"},
      {"/default_normalize", 1, "default_normalize = 1: accepted: true or false"},
      {"/route", "fastest",
       "route = \"fastest\": accepted: one of auto, direct, tiles, chunkwise, fft, interpolation"},
      {"/limits/max_tokens", 9, "limits.max_tokens = 9: accepted: an integer in [1, 8]"},
      {"/limits/max_tokens", 2, "goldens[0]: sequence 0 has 3 tokens, limit 2"},
      {"/weights_sha256", "AB", "weights_sha256 = \"AB\": accepted: 64 lower-case"},
      {"/licence", "x", "'licence' = \"x\": unknown key: known: default_normalize, "},
      {"/goldens", json::array(), "goldens = []: accepted: at least one"},
      {"/goldens", 5, "goldens = 5: accepted: an array"},
      {"/goldens/0", 5, "goldens[0]: not an object"},
      {"/goldens/0/token_ids", json::array({5}), "goldens[0].token_ids = [5]: accepted: an array"},
      {"/goldens/0/token_ids", json::array(),
       "goldens[0].token_ids = []: accepted: an array of at least 1 integers"},
      {"/goldens/0/token_ids", json(std::vector<int>(9, 1)),
       "goldens[0]: sequence 0 has 9 tokens, limit 8"},
      {"/goldens/0/output/pooling", "sum", "goldens[0].output.pooling = \"sum\": accepted: one of"},
      {"/goldens/0/output/layers", json::array({2}), "goldens[0].output.layers = [2]: accepted: "},
      {"/goldens/0/output/row_ranges", json::array({json::array({2, 9})}),
       "goldens[0]: range [2, 9) of sequence 0 is not within its 3 tokens"},
      {"/goldens/0/output/spans", json::array({1}), "goldens[0].output.spans = [1]: accepted: [["},
      {"/goldens/0/output/truncate_dim", 5, "goldens[0].output.truncate_dim = 5: accepted: an int"},
      {"/goldens/0/rows", json::array({3, 0}), "goldens[0].rows = [3,0]: accepted: rows below 3"},
      {"/goldens/0/rows", json::array(),
       "goldens[0].rows = []: accepted: an array of at least 1 integers"},
      {"/goldens/0/values", json::array({json::array({1, 2, 3, 4})}),
       "goldens[0].values = [[1,2,3,4]]: accepted: 2 rows of 4 numbers"},
      {"/goldens/0/values/1/3", "8",
       "goldens[0].values = [[1,2,3,4],[5,6,7,\"8\"]]: accepted: 2 rows of 4 numbers"},
      {"/goldens/0/tolerance", 0, "goldens[0].tolerance = 0: accepted: a number above 0"},
      {"/goldens/0/note", 1, "goldens[0].'note' = 1: unknown key"},
  };
  for (const Refused& row : table) {
    serving_ = sound;
    serving_[json::json_pointer(row.pointer)] = row.value;
    WriteAll();
    EXPECT_THAT(Problem(), HasSubstr(std::string("\n") + row.problem)) << row.pointer;
  }
}

}  // namespace
}  // namespace longwave
