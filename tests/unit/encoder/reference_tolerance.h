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

// The tolerance is that of a backward stable computation: an fp32 sum of K products is the exact
// sum for weights that are off by at most 4 sqrt(K) u each (u = 2^-24), but for one case in
// thousands: roundings are random in sign (Higham and Mary, SIAM J. Sci. Comput. 41, 2019, with
// lambda = 4). So the reference is run with the weights as they are and with each of them off by a
// seeded amount of up to that, K being the longest sum over weights; the largest change of any
// value, doubled since another draw may do worse, is what fp32 is granted. Nothing here is fitted
// to the encoder.
ReferenceResult ReferenceEncode(const ModelFolder& folder, const std::vector<int32_t>& tokens,
                                const OutputSpec& output);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_ENCODER_REFERENCE_TOLERANCE_H_
