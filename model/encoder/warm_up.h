#ifndef LONGWAVE_MODEL_ENCODER_WARM_UP_H_
#define LONGWAVE_MODEL_ENCODER_WARM_UP_H_

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/compute_pool.h"
#include "model/encoder/sequence_cost_model.h"
#include "model/encoder/transformer.h"

namespace longwave {

struct WarmUpResult {
  MeasuredRates rates;
  double max_slice_seconds = 0;  // of the routes that AUTO takes
};

// Runs every route of encoder.Info().routes twice: the first run fills caches and compiles kernels,
// the second is timed by `clock`. `cost` and `pool` (null on CUDA) are the encoder's own. Throws
// what LibTorch throws.
absl::StatusOr<WarmUpResult> RunWarmUp(Encoder& encoder, const Transformer& transformer,
                                       ComputePool* pool, const SequenceCostModel& cost,
                                       const Clock& clock);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_WARM_UP_H_
