#include "model/base/error.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace longwave {
namespace {

TEST(ErrorReason, NamesAreDifferentAndUpperSnakeCase) {
  std::set<std::string> names;
  for (const ErrorReason reason : AllErrorReasons()) {
    const std::string name(ErrorReasonName(reason));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"), std::string::npos) << name;
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(ErrorReason::kInternal) + 1);
}

TEST(ErrorReason, NoReasonIsOk) {
  for (const ErrorReason reason : AllErrorReasons()) {
    EXPECT_NE(ErrorReasonCode(reason), absl::StatusCode::kOk) << ErrorReasonName(reason);
  }
}

TEST(ErrorReason, CodesTellTheCallerWhatToDo) {
  // The caller's fault, wait and retry, go elsewhere, too late, ours.
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kTokenOutOfRange), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kQueueFull), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kDraining), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kDeadlineExpired), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kRouteNotExact), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorReasonCode(ErrorReason::kNonFinite), absl::StatusCode::kInternal);
}

TEST(MakeError, DetailsComeBack) {
  for (const ErrorReason reason : AllErrorReasons()) {
    const absl::Status status = MakeError(ErrorDetails{.reason = reason,
                                                       .field = "tokens.lengths[3]",
                                                       .value = "9",
                                                       .limit = "8",
                                                       .retry_after = Nanoseconds(1'500'000'000)},
                                          "too long");
    EXPECT_EQ(status.code(), ErrorReasonCode(reason));
    const ErrorDetails details = GetErrorDetails(status);
    EXPECT_EQ(details.reason, reason) << ErrorReasonName(reason);
    EXPECT_EQ(details.field, "tokens.lengths[3]");
    EXPECT_EQ(details.value, "9");
    EXPECT_EQ(details.limit, "8");
    ASSERT_TRUE(details.retry_after.has_value());
    EXPECT_EQ(details.retry_after->count(), 1'500'000'000);
  }
}

TEST(MakeError, MessageNamesFieldValueAndLimit) {
  const absl::Status status = MakeError(ErrorDetails{.reason = ErrorReason::kSequenceTooLong,
                                                     .field = "tokens.lengths[3]",
                                                     .value = "9",
                                                     .limit = "8"},
                                        "too long");
  EXPECT_EQ(status.message(), "too long; tokens.lengths[3] = 9, limit 8");
  EXPECT_EQ(MakeError(ErrorReason::kLoading, "not ready").message(), "not ready");
}

TEST(MakeError, WithoutDetailsThereAreNone) {
  const ErrorDetails details = GetErrorDetails(MakeError(ErrorReason::kCancelled, "gone"));
  EXPECT_EQ(details.reason, ErrorReason::kCancelled);
  EXPECT_EQ(details.field, "");
  EXPECT_EQ(details.value, "");
  EXPECT_EQ(details.limit, "");
  EXPECT_FALSE(details.retry_after.has_value());
}

TEST(GetErrorDetails, AStrangersStatusGetsTheReasonOfItsCode) {
  EXPECT_EQ(GetErrorDetails(absl::CancelledError("x")).reason, ErrorReason::kCancelled);
  EXPECT_EQ(GetErrorDetails(absl::DeadlineExceededError("x")).reason,
            ErrorReason::kDeadlineExpired);
  EXPECT_EQ(GetErrorDetails(absl::UnimplementedError("x")).reason, ErrorReason::kNotImplemented);
  EXPECT_EQ(GetErrorDetails(absl::DataLossError("x")).reason, ErrorReason::kInternal);
}

}  // namespace
}  // namespace longwave
