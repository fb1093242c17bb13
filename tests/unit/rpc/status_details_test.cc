#include "server/rpc/status_details.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/base/error.h"

namespace longwave {
namespace {

using std::chrono::milliseconds;

google::rpc::Status Details(const WireError& error) {
  google::rpc::Status status;
  EXPECT_TRUE(status.ParseFromString(error.status.error_details()));
  return status;
}

template <typename Message>
std::optional<Message> Find(const google::rpc::Status& status) {
  for (const auto& any : status.details()) {
    Message message;
    if (any.UnpackTo(&message)) return message;
  }
  return std::nullopt;
}

TEST(StatusDetailsTest, BadFieldCarriesReasonFieldValueAndLimit) {
  const absl::Status status = MakeError({.reason = ErrorReason::kSequenceTooLong,
                                         .field = "tokens.lengths[3]",
                                         .value = "9",
                                         .limit = "8"},
                                        "a sequence is too long");
  const WireError error = ToWireError(status, 0.5);
  EXPECT_EQ(error.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(error.status.error_message(), "a sequence is too long; tokens.lengths[3] = 9, limit 8");
  EXPECT_FALSE(error.pushback_ms.has_value());
  const google::rpc::Status wire = Details(error);
  EXPECT_EQ(wire.code(), 3);
  EXPECT_EQ(wire.message(), error.status.error_message());
  const auto info = Find<google::rpc::ErrorInfo>(wire);
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info->reason(), "SEQUENCE_TOO_LONG");
  EXPECT_EQ(info->domain(), "longwave");
  EXPECT_EQ(info->metadata().at("field"), "tokens.lengths[3]");
  EXPECT_EQ(info->metadata().at("value"), "9");
  EXPECT_EQ(info->metadata().at("limit"), "8");
  const auto bad_request = Find<google::rpc::BadRequest>(wire);
  ASSERT_TRUE(bad_request.has_value());
  EXPECT_EQ(bad_request->field_violations(0).field(), "tokens.lengths[3]");
  EXPECT_FALSE(Find<google::rpc::RetryInfo>(wire).has_value());
}

TEST(StatusDetailsTest, QueueFullSaysWhenToComeBackAndSaysTheSameTwice) {
  const absl::Status status =
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = milliseconds(1000)}, "full");
  const WireError error = ToWireError(status, 0.0);
  EXPECT_EQ(error.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(error.pushback_ms.has_value());
  EXPECT_EQ(*error.pushback_ms, 800);
  const auto retry = Find<google::rpc::RetryInfo>(Details(error));
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 0);
  EXPECT_EQ(retry->retry_delay().nanos(), 800'000'000);
}

TEST(StatusDetailsTest, AQuotaNamesItsTenantAndWhenItRefills) {
  const absl::Status status = MakeError(
      {.reason = ErrorReason::kQuotaExceeded, .retry_after = milliseconds(2000)}, "used up");
  const WireError error = ToWireError(status, 0.5, "search");
  EXPECT_EQ(error.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(error.pushback_ms, std::optional<int32_t>(2000));
  const auto failure = Find<google::rpc::QuotaFailure>(Details(error));
  ASSERT_TRUE(failure.has_value());
  ASSERT_EQ(failure->violations_size(), 1);
  EXPECT_EQ(failure->violations(0).subject(), "tenant:search");
  EXPECT_EQ(failure->violations(0).description(), "used up");
  const auto retry = Find<google::rpc::RetryInfo>(Details(error));
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 2);
  const absl::Status full = MakeError(ErrorReason::kQueueFull, "full");
  EXPECT_FALSE(Find<google::rpc::QuotaFailure>(Details(ToWireError(full, 0.5))).has_value());
}

TEST(StatusDetailsTest, WhatFailsAgainForSureForbidsRetries) {
  for (const ErrorReason reason :
       {ErrorReason::kDeadlineUnmeetable, ErrorReason::kOutOfMemory, ErrorReason::kSlowReader}) {
    const WireError error = ToWireError(MakeError(reason, "no"), 0.5);
    ASSERT_TRUE(error.pushback_ms.has_value()) << ErrorReasonName(reason);
    EXPECT_EQ(*error.pushback_ms, -1);
    EXPECT_FALSE(Find<google::rpc::RetryInfo>(Details(error)).has_value());
  }
}

TEST(StatusDetailsTest, UnavailableLeavesRetriesToTheClient) {
  for (const ErrorReason reason :
       {ErrorReason::kDraining, ErrorReason::kLoading, ErrorReason::kDeviceLost}) {
    const WireError error = ToWireError(MakeError(reason, "elsewhere"), 0.5);
    EXPECT_EQ(error.status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_FALSE(error.pushback_ms.has_value());
  }
}

TEST(StatusDetailsTest, DelaysSpreadByAFifth) {
  constexpr milliseconds kLongest(5000);
  EXPECT_EQ(JitteredDelay(milliseconds(1000), 0.0, kLongest), milliseconds(800));
  EXPECT_EQ(JitteredDelay(milliseconds(1000), 0.5, kLongest), milliseconds(1000));
  EXPECT_LT(JitteredDelay(milliseconds(1000), 0.999, kLongest), milliseconds(1200));
}

TEST(StatusDetailsTest, DelaysSpreadAtTheirBoundsTooAndStayWithin) {
  constexpr milliseconds kShortest(10);
  constexpr milliseconds kLongest(5000);
  for (const Nanoseconds wanted : {Nanoseconds(0), Nanoseconds(kShortest), Nanoseconds(kLongest),
                                   Nanoseconds(std::chrono::hours(1)), Nanoseconds::max()}) {
    Nanoseconds before(0);
    for (int i = 0; i < 100; ++i) {
      const Nanoseconds delay = JitteredDelay(wanted, i / 100.0, kLongest);
      EXPECT_GT(delay, before) << "two clients come back together";
      EXPECT_GE(delay, kShortest);
      EXPECT_LE(delay, kLongest);
      before = delay;
    }
    const double spread = ToSeconds(before) / ToSeconds(JitteredDelay(wanted, 0, kLongest));
    EXPECT_NEAR(spread, 1.2 / 0.8, 0.01);
  }
}

TEST(StatusDetailsTest, AQuotaInDebtForMinutesSaysSo) {
  const ErrorDetails details{.reason = ErrorReason::kQuotaExceeded,
                             .retry_after = std::chrono::minutes(10)};
  const WireError error = ToWireError(MakeError(details, "used up"), 0.5, "search");
  EXPECT_EQ(error.pushback_ms, std::optional<int32_t>(600'000));
  EXPECT_EQ(Find<google::rpc::RetryInfo>(Details(error))->retry_delay().seconds(), 600);
  EXPECT_EQ(ToStreamFailed(MakeError(details, "used up"), 0, 0.5).retry_after().seconds(), 600);
  // Whatever the debt, the number stays one.
  const ErrorDetails never{.reason = ErrorReason::kQuotaExceeded,
                           .retry_after = Nanoseconds::max()};
  EXPECT_LE(*ToWireError(MakeError(never, "used up"), 0.99).pushback_ms, 24 * 3600 * 1000);
  EXPECT_GT(*ToWireError(MakeError(never, "used up"), 0.99).pushback_ms, 23 * 3600 * 1000);
}

TEST(StatusDetailsTest, EveryReasonKeepsItsCodeAndName) {
  for (const ErrorReason reason : AllErrorReasons()) {
    const WireError error = ToWireError(MakeError(reason, "x"), 0.5);
    EXPECT_EQ(static_cast<int>(error.status.error_code()),
              static_cast<int>(ErrorReasonCode(reason)));
    EXPECT_EQ(Find<google::rpc::ErrorInfo>(Details(error))->reason(), ErrorReasonName(reason));
  }
}

TEST(StatusDetailsTest, LongAndBrokenTextsStaySmallAndValid) {
  const std::string hostile = std::string(100'000, 'x') + "\xff\xfe";
  const absl::Status status = MakeError({.reason = ErrorReason::kInvalidField,
                                         .field = hostile,
                                         .value = "\xc3\x28" + hostile,
                                         .limit = hostile},
                                        hostile);
  const WireError error = ToWireError(status, 0.5);
  // Trailers: the message percent-encoded (at most three bytes for one) and the details.
  EXPECT_LT(error.status.error_message().size() * 3 + error.status.error_details().size(), 8192u);
  Details(error);  // parses, so its strings are UTF-8
}

TEST(StatusDetailsTest, StreamFailedSaysTheSame) {
  const absl::Status status = MakeError({.reason = ErrorReason::kQueueFull,
                                         .field = "f",
                                         .value = "v",
                                         .limit = "l",
                                         .retry_after = milliseconds(500)},
                                        "full");
  const v1::StreamFailed failed = ToStreamFailed(status, 42, 0.5);
  EXPECT_EQ(failed.code(), 8);
  EXPECT_EQ(failed.reason(), "QUEUE_FULL");
  EXPECT_EQ(failed.field(), "f");
  EXPECT_EQ(failed.value(), "v");
  EXPECT_EQ(failed.limit(), "l");
  EXPECT_EQ(failed.next_row(), 42u);
  EXPECT_EQ(failed.retry_after().nanos(), 500'000'000);
}

TEST(StatusDetailsTest, JitterStaysInItsRange) {
  for (int i = 0; i < 1000; ++i) {
    const double jitter = NextJitter();
    EXPECT_GE(jitter, 0.0);
    EXPECT_LT(jitter, 1.0);
  }
}

}  // namespace
}  // namespace longwave
