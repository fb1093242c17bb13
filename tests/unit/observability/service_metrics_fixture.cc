#include "tests/unit/observability/service_metrics_fixture.h"

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

namespace longwave {

ServiceMetrics* StartMetrics() {
  static auto* const kStarted = new std::vector<std::unique_ptr<ServiceMetrics>>();
  auto metrics = ServiceMetrics::Create({.address = "127.0.0.1:0"});
  EXPECT_TRUE(metrics.ok()) << metrics.status();
  kStarted->push_back(*std::move(metrics));
  return kStarted->back().get();
}

RequestRecord OkRecord(RpcMethod method, int64_t tokens) {
  RequestRecord record;
  record.method = method;
  record.admitted = true;
  record.tokens = tokens;
  record.longest_sequence = tokens;
  record.route = "chunkwise";
  record.stages.receive = FromSeconds(0.5);
  record.stages.validate = FromSeconds(0.25);
  record.stages.queue = FromSeconds(1);
  record.stages.compute = FromSeconds(2);
  record.stages.serialise = FromSeconds(0.125);
  record.stages.other = FromSeconds(0.125);
  record.stages.total = FromSeconds(4);
  return record;
}

RequestRecord FailedRecord(ErrorReason reason, bool admitted) {
  RequestRecord record;
  record.code = ErrorReasonCode(reason);
  record.reason = reason;
  record.admitted = admitted;
  record.stages.total = FromSeconds(0.001);
  return record;
}

}  // namespace longwave
