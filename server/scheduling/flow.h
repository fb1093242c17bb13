#ifndef LONGWAVE_SERVER_SCHEDULING_FLOW_H_
#define LONGWAVE_SERVER_SCHEDULING_FLOW_H_

#include <cstdint>
#include <tuple>

#include "server/admission/request_terms.h"

namespace longwave {

// What the classes weigh against each other while both have work.
constexpr double ClassWeight(Priority priority) {
  return priority == Priority::kInteractive ? 9 : 1;
}

// One tenant's work of one class: what the engine is shared between.
struct Flow {
  Priority priority = Priority::kInteractive;
  uint64_t tenant = 0;  // as the request book numbers them
  double share = 1;     // the tenant's; no part of the identity

  friend bool operator<(const Flow& a, const Flow& b) {
    return std::tie(a.priority, a.tenant) < std::tie(b.priority, b.tenant);
  }
  friend bool operator==(const Flow& a, const Flow& b) {
    return a.priority == b.priority && a.tenant == b.tenant;
  }
};

// The part of a job, or of a slice of it, that is one flow's.
struct FlowPart {
  Flow flow;
  double seconds = 0;          // by the cost model
  double encoder_seconds = 0;  // by the encoder
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_FLOW_H_
