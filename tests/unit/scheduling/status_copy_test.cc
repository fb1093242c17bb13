#include "server/scheduling/status_copy.h"

#include "gtest/gtest.h"
#include "model/base/error.h"

namespace longwave {
namespace {

TEST(CopyStatusTest, KeepsCodeMessageAndDetails) {
  const absl::Status status = MakeError({.reason = ErrorReason::kSlowReader,
                                         .field = "f",
                                         .value = "v",
                                         .limit = "l",
                                         .retry_after = Nanoseconds(5)},
                                        "text");
  const absl::Status copy = CopyStatus(status);
  EXPECT_EQ(copy, status);
  const ErrorDetails details = GetErrorDetails(copy);
  EXPECT_EQ(details.reason, ErrorReason::kSlowReader);
  EXPECT_EQ(details.field, "f");
  EXPECT_EQ(details.value, "v");
  EXPECT_EQ(details.limit, "l");
  EXPECT_EQ(details.retry_after, Nanoseconds(5));
  EXPECT_TRUE(CopyStatus(absl::OkStatus()).ok());
}

}  // namespace
}  // namespace longwave
