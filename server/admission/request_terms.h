#ifndef LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_
#define LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_

#include <cstdint>
#include <memory>

#include "model/base/clock.h"
#include "server/admission/tenant.h"

namespace longwave {

enum class Priority { kInteractive, kBatch };

// How a request is to be served.
struct RequestTerms {
  Priority priority = Priority::kInteractive;
  Instant deadline = kNever;
  // Null: the tenant without a name.
  std::shared_ptr<const Tenant> tenant;
  // Memory of the host that the request takes until it ends, beside its ids.
  int64_t reply_bytes = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_
