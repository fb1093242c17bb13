#include "client/service_config.h"

#include <grpcpp/support/validate_service_config.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace longwave::client {
namespace {

using nlohmann::json;

json Config() { return json::parse(std::string(DefaultServiceConfig())); }

// The methodConfig entry that names a method.
json MethodConfig(const std::string& method) {
  const json config = Config();
  for (const json& entry : config["methodConfig"]) {
    for (const json& name : entry["name"]) {
      if (name.value("method", "") == method) return entry;
    }
  }
  return json();
}

TEST(ServiceConfigTest, GrpcAcceptsIt) {
  EXPECT_EQ(grpc::experimental::ValidateServiceConfigJSON(std::string(DefaultServiceConfig())), "");
}

TEST(ServiceConfigTest, AHealthCheckIsAddedOnce) {
  const std::string with = WithHealthCheck(DefaultServiceConfig());
  EXPECT_EQ(json::parse(with)["healthCheckConfig"]["serviceName"], "longwave.v1.EncoderService");
  EXPECT_EQ(json::parse(with)["methodConfig"], Config()["methodConfig"]);
  EXPECT_EQ(grpc::experimental::ValidateServiceConfigJSON(with), "");
  EXPECT_EQ(WithHealthCheck(with), with);
  EXPECT_TRUE(json::parse(WithHealthCheck(" { } ")).contains("healthCheckConfig"));
  EXPECT_EQ(WithHealthCheck("nonsense"), "nonsense");
}

TEST(ServiceConfigTest, UnaryCallsAreTriedFourTimes) {
  for (const char* method : {"Encode", "EstimateEncode", "GetModel", "ListModels"}) {
    const json policy = MethodConfig(method)["retryPolicy"];
    EXPECT_EQ(policy["maxAttempts"], 4) << method;
    EXPECT_EQ(policy["initialBackoff"], "0.05s") << method;
    EXPECT_EQ(policy["maxBackoff"], "2s") << method;
    EXPECT_EQ(policy["backoffMultiplier"], 2) << method;
    EXPECT_EQ(policy["retryableStatusCodes"],
              json({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"}))
        << method;
  }
}

TEST(ServiceConfigTest, StreamsAreLeftToTheReader) {
  EXPECT_FALSE(MethodConfig("EncodeStream").contains("retryPolicy"));
  EXPECT_FALSE(MethodConfig("EncodeStream").contains("timeout"));
}

TEST(ServiceConfigTest, NobodyWaitsForAServerThatIsNotThere) {
  const json config = Config();
  for (const json& entry : config["methodConfig"]) EXPECT_EQ(entry["waitForReady"], false);
}

TEST(ServiceConfigTest, ReplicasTakeTurnsAndRetriesAreThrottled) {
  EXPECT_TRUE(Config()["loadBalancingConfig"][0].contains("round_robin"));
  EXPECT_EQ(Config()["retryThrottling"]["maxTokens"], 100);
  EXPECT_EQ(Config()["retryThrottling"]["tokenRatio"], 0.1);
}

}  // namespace
}  // namespace longwave::client
