#ifndef LONGWAVE_MODEL_ENCODER_GOLDENS_H_
#define LONGWAVE_MODEL_ENCODER_GOLDENS_H_

#include "absl/status/status.h"
#include "model/api/encoder.h"
#include "model/weights/model_folder.h"

namespace longwave {

// Encodes every golden of the model by every route that is exact for it and eligible at that
// length, and compares with what the independent twin computed. A model that fails is not to be
// served: FAILED_PRECONDITION names the golden, the route, the worst difference and the tolerance.
// Other errors are the encoder's.
absl::Status VerifyGoldens(Encoder& encoder, const ServingConfig& serving);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_GOLDENS_H_
