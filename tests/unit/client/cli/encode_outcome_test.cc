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
  EXPECT_FALSE(MayPass(absl::NotFoundError("no file")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kResourceExhausted, "EXCEEDS_GRACE")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kInternal, "NON_FINITE")));
  EXPECT_FALSE(MayPass(Error(absl::StatusCode::kInternal, "DEGENERATE_DENOMINATOR")));
}

TEST(MayPassTest, WhatIsWrongWithTheServerMayNot) {
  EXPECT_TRUE(MayPass(absl::UnavailableError("gone")));
  EXPECT_TRUE(MayPass(absl::DeadlineExceededError("late")));
  EXPECT_TRUE(MayPass(absl::CancelledError("shut down")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kInternal, "INTERNAL")));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kResourceExhausted, "QUEUE_FULL", absl::Seconds(1))));
  EXPECT_TRUE(MayPass(Error(absl::StatusCode::kFailedPrecondition, "MODEL_CHANGED")));
}

}  // namespace
}  // namespace longwave::cli
