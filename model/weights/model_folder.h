#ifndef LONGWAVE_MODEL_WEIGHTS_MODEL_FOLDER_H_
#define LONGWAVE_MODEL_WEIGHTS_MODEL_FOLDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "model/weights/model_config.h"

namespace longwave {

// One stored tensor, converted to fp32, row-major.
struct WeightTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};

// By name, exactly the tensors that ExpectedWeights (weight_table.h) lists for the config.
using WeightMap = std::map<std::string, WeightTensor, std::less<>>;

// One golden: what the independent numpy twin computed in double for these inputs.
struct GoldenVector {
  std::vector<int32_t> token_ids;
  OutputSpec output;
  std::vector<int64_t> rows;   // which rows of the output were kept
  std::vector<double> values;  // [rows.size(), dim]
  double tolerance = 0;        // largest |difference| of any value, derived from norms by the maker
};

// longwave.json: how the model is to be served.
struct ServingConfig {
  std::string name = "default";
  std::string version = "1";
  std::string tokenizer_kind;  // "byte", "sentencepiece", ...
  std::string tokenizer_fingerprint;
  Pooling default_pooling = Pooling::kMean;
  bool default_normalize = true;
  std::vector<GoldenVector> goldens;
  std::string provenance;
  std::string license;
};

// A model as it lies on disk: config.json, model.safetensors, longwave.json.
struct ModelFolder {
  ModelConfig config;
  ServingConfig serving;
  WeightMap weights;
  std::string weights_digest;  // SHA-256 of model.safetensors, hex
};

// Reads and checks everything but the goldens. The weights are read into owned memory and hashed
// from there. Errors name the file's base name, what was found and what was expected.
absl::StatusOr<ModelFolder> LoadModelFolder(const std::string& path);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_MODEL_FOLDER_H_
