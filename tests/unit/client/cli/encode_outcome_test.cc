#include "client/cli/encode_outcome.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "client/error_info.h"

namespace longwave::cli {
namespace {

absl::Status Error(absl::StatusCode code, const std::string& reason,
                   std::optional<absl::Duration> retry_after = std::nullopt) {
  return client::MakeError(code, {.reason = reason, .retry_after = retry_after}, "scripted");
}

TEST(MayPassTest, WhatIsWrongWithTheDocumentStays) {
  EXPECT_FALSE(MayPass(absl::InvalidArgumentError("bad")));
  EXPECT_FALSE(MayPass(absl::OutOfRangeError("beyond")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kFailedPrecondition, "EXCEEDS_GRACE")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kFailedPrecondition, "ROUTE_NOT_EXACT")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kResourceExhausted, "OUT_OF_MEMORY")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kInternal, "NON_FINITE")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kInternal, "DEGENERATE_DENOMINATOR")));
}

TEST(MayPassTest, WhatIsWrongWithTheServerMayNot) {
  EXPECT_TRUE(MayPass(absl::UnavailableError("gone")));
  EXPECT_TRUE(MayPass(absl::DeadlineExceededError("late")));
  EXPECT_TRUE(MayPass(absl::CancelledError("shut down")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kInternal, "INTERNAL")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", absl::Seconds(1))));
  EXPECT_TRUE(
      MayPass(Error(absl::StatusCode::kResourceExhausted, "MEMORY_FULL", absl::Seconds(1))));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kResourceExhausted, "DEADLINE_UNMEETABLE")));
  EXPECT_TRUE(MayPass(absl::ResourceExhaustedError("a proxy's limit")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kFailedPrecondition, "MODEL_CHANGED")));
  EXPECT_TRUE(MayPass(absl::FailedPreconditionError("of nobody knows what")));
}

// A key that ran out in the middle fails every further document, and so does a proxy without its
// server: none of them is to be noted as done.
TEST(MayPassTest, WhatEveryDocumentWouldGetIsNoDocumentsFault) {
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED")));
  EXPECT_TRUE(MayPass(absl::UnknownError("HTTP 502")));
  EXPECT_TRUE(MayPass(absl::UnimplementedError("HTTP 404")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kNotFound, "UNKNOWN_MODEL")));
  EXPECT_TRUE(MayPass(absl::DataLossError("a checksum")));
  EXPECT_TRUE(MayPass(absl::InternalError("no reason given")));
}

}  // namespace
}  // namespace longwave::cli
