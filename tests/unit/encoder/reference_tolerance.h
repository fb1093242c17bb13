#ifndef LONGWAVE_TESTS_UNIT_ENCODER_REFERENCE_TOLERANCE_H_
#define LONGWAVE_TESTS_UNIT_ENCODER_REFERENCE_TOLERANCE_H_

#include <cstdint>
#include <vector>

#include "model/weights/model_folder.h"

namespace longwave {

// What the double encoder makes of a sequence, and how far fp32 may be from it.
struct ReferenceResult {
  std::vector<double> values;  // [RowCount, dim]
  double tolerance = 0;        // of every value
};

// The tolerance is that of a backward stable computation: fp32 sums of K products give the exact
// result for weights that are off by at most K u each (u = 2^-24, K the longest sum over weights).
// So the reference is run with the weights as they are and with each of them off by a seeded
// amount of up to K u; the largest change of any value, doubled since another draw may do worse, is
// what fp32 is granted. No number here is fitted to the encoder under test.
ReferenceResult ReferenceEncode(const ModelFolder& folder, const std::vector<int32_t>& tokens,
                                const OutputSpec& output);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ENCODER_REFERENCE_TOLERANCE_H_
