#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longwave {
namespace {

using ::testing::HasSubstr;
using Action = CommandLine::Action;

ServerOptions Parse(const std::vector<std::string>& arguments) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(arguments);
  EXPECT_TRUE(line.ok()) << line.status();
  return line.ok() ? line->options : ServerOptions();
}

std::string Problems(const std::vector<std::string>& arguments) {
  const absl::StatusOr<CommandLine> line = ParseCommandLine(arguments);
  EXPECT_FALSE(line.ok());
  return std::string(line.status().message());
}

TEST(OptionsTest, DefaultsAreValidAndLocal) {
  const ServerOptions options = Parse({});
  EXPECT_EQ(options.port.address, "127.0.0.1:50051");
  EXPECT_EQ(options.metrics.address, "127.0.0.1:9090");
  EXPECT_TRUE(options.port.reflection);
  EXPECT_EQ(options.drain.delay_seconds, std::optional<double>(0));
  EXPECT_FALSE(options.calls.limits.allow_route_override);
  EXPECT_EQ(options.calls.max_deadline_seconds, 120);
  EXPECT_EQ(options.calls.max_stream_deadline_seconds, 3600);
}

TEST(OptionsTest, AnOpenAddressHidesReflectionAndWaitsForBalancers) {
  const ServerOptions options = Parse({"--address=0.0.0.0:50051", "--allow_plaintext"});
  EXPECT_FALSE(options.port.reflection);
  EXPECT_EQ(options.drain.delay_seconds, std::optional<double>(5));
}

TEST(OptionsTest, WhatIsAskedForWins) {
  EXPECT_TRUE(Parse({"--address=0.0.0.0:1", "--allow_plaintext", "--reflection"}).port.reflection);
  EXPECT_FALSE(Parse({"--no-reflection"}).port.reflection);
  EXPECT_EQ(Parse({"--drain_delay=7"}).drain.delay_seconds, std::optional<double>(7));
  EXPECT_EQ(Parse({"--log_level=debug"}).log_level, LogLevel::kDebug);
  EXPECT_EQ(Parse({}).calls.log_requests, RequestLogging::kFailed);
  EXPECT_EQ(Parse({"--log_requests=failed"}).calls.log_requests, RequestLogging::kFailed);
  EXPECT_EQ(Parse({"--log_requests=sampled"}).calls.log_requests, RequestLogging::kSampled);
  EXPECT_EQ(Parse({"--log_requests=all"}).calls.log_requests, RequestLogging::kAll);
  const ServerOptions options = Parse({"--max_stall=3", "--allow_route_override"});
  EXPECT_EQ(options.scheduler.max_stall_seconds, 3);
  EXPECT_EQ(options.calls.max_stall_seconds, 3) << "one flag, two readers";
  EXPECT_TRUE(options.calls.limits.allow_route_override);
}

TEST(OptionsTest, AnOpenAddressNeedsTlsOrAWord) {
  EXPECT_THAT(Problems({"--address=0.0.0.0:1"}), HasSubstr("--allow_plaintext"));
  const ServerOptions options = Parse({"--address=0.0.0.0:1", "--tls_certificate=c", "--tls_key=k",
                                       "--tls_client_ca=a", "--tenants=t", "--reload_interval=2"});
  EXPECT_TRUE(options.security.tls());
  EXPECT_EQ(options.security.tls_client_ca, "a");
  EXPECT_EQ(options.security.tenants, "t");
  EXPECT_EQ(options.security.reload_seconds, 2);
  EXPECT_THAT(Problems({"--tls_key=k"}), HasSubstr("--tls_certificate"));
}

TEST(OptionsTest, KeysHideReflection) {
  EXPECT_FALSE(Parse({"--tenants=t"}).port.reflection);
  EXPECT_TRUE(Parse({"--tenants=t", "--reflection"}).port.reflection);
}

TEST(OptionsTest, LoopbackIsKnownInItsForms) {
  for (const char* address : {"127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "localhost:1", "unix:/x"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "1270.example:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(OptionsTest, EveryProblemIsNamedAtOnce) {
  const std::string problems = Problems(
      {"--threads=-1", "--device=tpu", "--address=nowhere", "--max_deadline=0", "--grace=-1",
       "--max_queue_tokens=0", "--max_stall=0", "--log_level=loud", "--log_requests=some",
       "--metrics_address=x", "--max_sequences=0", "--handshake_timeout=0", "--nonsense"});
  for (const char* flag :
       {"--threads", "--device", "--address", "--max_deadline", "--grace", "--max_queue_tokens",
        "--max_stall", "--log_level", "--log_requests", "--metrics_address", "--max_sequences",
        "--handshake_timeout", "--nonsense"}) {
    EXPECT_THAT(problems, HasSubstr(flag));
  }
}

TEST(OptionsTest, ActionsThatServeNothing) {
  EXPECT_EQ(ParseCommandLine({"--help"})->action, Action::kHelp);
  EXPECT_THAT(ParseCommandLine({"--help"})->help, HasSubstr("--max_resident_bytes"));
  EXPECT_EQ(ParseCommandLine({"--version", "--nonsense"})->action, Action::kVersion);
  EXPECT_EQ(ParseCommandLine({"--check_config"})->action, Action::kCheckConfig);
  EXPECT_FALSE(ParseCommandLine({"--check_config", "--threads=-1"}).ok());
}

}  // namespace
}  // namespace longwave
