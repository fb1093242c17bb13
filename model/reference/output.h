#ifndef LONGWAVE_MODEL_REFERENCE_OUTPUT_H_
#define LONGWAVE_MODEL_REFERENCE_OUTPUT_H_

#include <vector>

#include "model/api/encoder.h"
#include "model/weights/model_config.h"

namespace longwave {

// One layer's hidden states, [n, hidden_size] row-major.
using HiddenStates = std::vector<double>;

// What an OutputSpec makes of the states of layers 0 to num_layers: [RowCount, dim], dim being the
// layers' vectors side by side, each truncated and normalised by itself.
std::vector<double> ReferenceOutput(const ModelConfig& config, const OutputSpec& output,
                                    const std::vector<HiddenStates>& states);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_REFERENCE_OUTPUT_H_
