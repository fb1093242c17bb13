#ifndef LONGWAVE_SERVER_SCHEDULING_DRAINING_ERROR_H_
#define LONGWAVE_SERVER_SCHEDULING_DRAINING_ERROR_H_

#include "absl/status/status.h"
#include "model/base/error.h"

namespace longwave {

// What requests get that a server which is shutting down does not take or does not finish.
inline absl::Status DrainingError() {
  return MakeError(ErrorReason::kDraining, "the server is shutting down");
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_DRAINING_ERROR_H_
