#ifndef LONGWAVE_MODEL_WEIGHTS_SERVING_CONFIG_H_
#define LONGWAVE_MODEL_WEIGHTS_SERVING_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/weights/model_config.h"
#include "model/weights/model_folder.h"

namespace longwave {

// longwave.json beyond what serving needs to know later.
struct ServingFile {
  ServingConfig serving;
  int64_t max_tokens = 0;      // limits.max_tokens, at most the config's; 0 = not given
  Route route = Route::kAuto;  // instead of the planner's choice
  std::string weights_sha256;  // lower-case hex; empty = not given
};

// Parses and validates longwave.json (schema: README.md here) for a model of this config.
// INVALID_ARGUMENT lists every problem at once.
absl::StatusOr<ServingFile> ParseServingConfig(absl::string_view json, const ModelConfig& config);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_WEIGHTS_SERVING_CONFIG_H_
