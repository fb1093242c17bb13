#ifndef LONGWAVE_TESTS_UNIT_OBSERVABILITY_SERVICE_METRICS_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_OBSERVABILITY_SERVICE_METRICS_FIXTURE_H_

#include <cstdint>

#include "server/observability/service_metrics.h"

namespace longwave {

// A fresh instance that lives until the program ends: the HTTP library takes two seconds to stop.
ServiceMetrics* StartMetrics();

// A request that ended OK with stages of known lengths.
RequestRecord OkRecord(RpcMethod method, int64_t tokens);
RequestRecord FailedRecord(ErrorReason reason, bool admitted);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_OBSERVABILITY_SERVICE_METRICS_FIXTURE_H_
