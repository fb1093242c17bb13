#include "model/weights/model_folder.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/weights/file.h"
#include "model/weights/json_fields.h"
#include "model/weights/safetensors.h"
#include "model/weights/serving_config.h"
#include "model/weights/weight_table.h"

namespace longwave {
namespace {

constexpr absl::string_view kConfigName = "config.json";
constexpr absl::string_view kWeightsName = "model.safetensors";
constexpr absl::string_view kServingName = "longwave.json";
constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr int64_t kMaxServingBytes = 16 << 20;
constexpr int64_t kMaxWeightsBytes = int64_t{64} << 30;

absl::Status InFile(absl::string_view name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// The stored names and shapes must be the expected ones, all of them and no other.
absl::Status CheckNames(const SafetensorsFile& file, const std::vector<ExpectedWeight>& expected) {
  Problems problems;
  std::set<std::string> known;
  for (const ExpectedWeight& weight : expected) {
    known.insert(weight.name);
    const auto found = file.tensors().find(weight.name);
    if (found == file.tensors().end()) {
      problems.Add(absl::StrCat(weight.name, " ", Shape(weight.shape), " is missing"));
    } else if (found->second.shape != weight.shape) {
      problems.Add(absl::StrCat(weight.name, " has shape ", Shape(found->second.shape),
                                ": expected ", Shape(weight.shape)));
    }
  }
  for (const auto& [name, tensor] : file.tensors()) {
    if (known.count(name) == 0) {
      problems.Add(absl::StrCat(Quoted(name), " is not a tensor of this configuration"));
    }
  }
  return problems.ToStatus("the tensors do not fit config.json:");
}

absl::StatusOr<WeightMap> ReadWeights(absl::string_view bytes, const ModelConfig& config) {
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Parse(bytes);
  if (!file.ok()) return file.status();
  const std::vector<ExpectedWeight> expected = ExpectedWeights(config);
  if (absl::Status status = CheckNames(*file, expected); !status.ok()) return status;
  WeightMap weights;
  for (const ExpectedWeight& weight : expected) {
    absl::StatusOr<std::vector<float>> values = file->Read(weight.name);
    if (!values.ok()) return values.status();
    weights[weight.name] = WeightTensor{weight.shape, *std::move(values)};
  }
  return weights;
}

absl::Status LoadWeights(const std::string& folder, const std::string& expected_digest,
                         ModelFolder& model) {
  const absl::StatusOr<std::string> bytes =
      ReadFile(absl::StrCat(folder, "/", kWeightsName), kMaxWeightsBytes);
  if (!bytes.ok()) return bytes.status();
  model.weights_digest = Sha256Hex(*bytes);
  if (!expected_digest.empty() && expected_digest != model.weights_digest) {
    return absl::InvalidArgumentError(absl::StrCat(kWeightsName, ": SHA-256 is ",
                                                   model.weights_digest, ", but ", kServingName,
                                                   " expects ", expected_digest));
  }
  absl::StatusOr<WeightMap> weights = ReadWeights(*bytes, model.config);
  if (!weights.ok()) return InFile(kWeightsName, weights.status());
  model.weights = *std::move(weights);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelFolder> LoadModelFolder(const std::string& path) {
  const absl::StatusOr<std::string> config_text =
      ReadFile(absl::StrCat(path, "/", kConfigName), kMaxConfigBytes);
  if (!config_text.ok()) return config_text.status();
  const absl::StatusOr<std::string> serving_text =
      ReadFile(absl::StrCat(path, "/", kServingName), kMaxServingBytes);
  if (!serving_text.ok()) return serving_text.status();

  absl::StatusOr<ModelConfig> config = ParseModelConfig(*config_text);
  if (!config.ok()) return InFile(kConfigName, config.status());
  absl::StatusOr<ServingFile> serving = ParseServingConfig(*serving_text, *config);
  if (!serving.ok()) return InFile(kServingName, serving.status());

  ModelFolder model;
  model.config = *std::move(config);
  if (serving->max_tokens > 0) model.config.max_tokens = serving->max_tokens;
  model.config.attention.preferred_route = serving->route;
  model.serving = std::move(serving->serving);
  if (absl::Status status = LoadWeights(path, serving->weights_sha256, model); !status.ok()) {
    return status;
  }
  return model;
}

}  // namespace longwave
