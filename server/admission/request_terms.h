#ifndef LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_
#define LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_

#include <cstdint>
#include <memory>

#include "model/base/clock.h"
#include "server/admission/host_memory.h"
#include "server/admission/tenant.h"

namespace longwave {

enum class Priority { kInteractive, kBatch };

// How a request is to be served.
struct RequestTerms {
  Priority priority = Priority::kInteractive;
  Instant deadline = kNever;
  // Null: the tenant without a name.
  std::shared_ptr<const Tenant> tenant;
  // Memory of the host that its reply takes; the ids, which are known, are added.
  int64_t reply_bytes = 0;
  // Where Submit puts the reservation of those bytes, for whoever holds the reply: a client may
  // take it long after the last sequence has ended. Null: given back when that ends.
  std::shared_ptr<HostReservation> reply;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_REQUEST_TERMS_H_
