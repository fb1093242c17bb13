#include <cstddef>
#include <cstdint>

#include "model/weights/model_config.h"
#include "model/weights/serving_config.h"
#include "model/weights/weight_table.h"

// config.json and longwave.json. The first byte picks the parser.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    const auto config = longwave::ParseModelConfig(text);
    if (config.ok()) longwave::ExpectedWeights(*config);
    return 0;
  }
  longwave::ModelConfig config;
  config.hidden_size = 4;
  config.num_layers = 2;
  config.vocab_size = 260;
  config.max_tokens = 64;
  longwave::ParseServingConfig(text, config).status().IgnoreError();
  return 0;
}
