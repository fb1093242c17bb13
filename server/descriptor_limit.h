#ifndef LONGWAVE_SERVER_DESCRIPTOR_LIMIT_H_
#define LONGWAVE_SERVER_DESCRIPTOR_LIMIT_H_

#include <cstdint>

namespace longwave {

// Below this a server runs out of descriptors before it runs out of anything else: each connection
// holds one, and log, ports, model files and gRPC's own hold some dozens.
inline constexpr int64_t kSensibleDescriptors = 1024;

struct DescriptorLimit {
  int64_t before = 0;  // the soft limit as it was
  int64_t now = 0;
  bool sensible() const { return now >= kSensibleDescriptors; }
};

// Raises the process's soft limit on open descriptors (RLIMIT_NOFILE) to the hard one: the soft one
// is low for the sake of programs that use select, and this one does not.
DescriptorLimit RaiseDescriptorLimit();

}  // namespace longwave

#endif  // LONGWAVE_SERVER_DESCRIPTOR_LIMIT_H_
