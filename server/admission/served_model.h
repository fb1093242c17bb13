#ifndef LONGWAVE_SERVER_ADMISSION_SERVED_MODEL_H_
#define LONGWAVE_SERVER_ADMISSION_SERVED_MODEL_H_

#include <memory>
#include <utility>

#include "model/api/encoder.h"
#include "server/admission/cost_model.h"

namespace longwave {

// One loaded version of a model and what is known of its speed. Shared by the calls that it serves:
// it lives until the last of them has ended, also when another version has taken its place.
struct ServedModel {
  explicit ServedModel(std::shared_ptr<Encoder> loaded) : encoder(std::move(loaded)) {}

  const std::shared_ptr<Encoder> encoder;
  CostModel cost;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_SERVED_MODEL_H_
