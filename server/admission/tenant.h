#ifndef LONGWAVE_SERVER_ADMISSION_TENANT_H_
#define LONGWAVE_SERVER_ADMISSION_TENANT_H_

#include <limits>
#include <string>

namespace longwave {

// On whose behalf requests are computed. Plain data; what a tenant has used up is counted by the
// scheduler, under the tenant's name.
struct Tenant {
  // Empty: everybody who has not said who they are.
  std::string name;
  // Of the engine while others want it too, relative to the shares of the others.
  double share = 1;
  // Quota: predicted seconds of compute per second, in the long run; infinite: none.
  double max_compute_share = std::numeric_limits<double>::infinity();
  // How many seconds of compute a tenant that was idle may use at once beyond its quota.
  double burst_seconds = 10;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_TENANT_H_
