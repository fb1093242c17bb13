#include "client/error_info.h"

#include <gtest/gtest.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace longwave::client {
namespace {

grpc::Status WithDetails(const google::rpc::Status& details) {
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()), details.message(),
                      details.SerializeAsString());
}

TEST(FromGrpcStatusTest, KeepsCodeTextAndDetails) {
  google::rpc::Status sent;
  sent.set_code(8);
  sent.set_message("the queue is full");
  google::rpc::ErrorInfo info;
  info.set_reason("QUEUE_FULL");
  (*info.mutable_metadata())["field"] = "queue";
  (*info.mutable_metadata())["value"] = "4097";
  (*info.mutable_metadata())["limit"] = "4096";
  sent.add_details()->PackFrom(info);
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  sent.add_details()->PackFrom(retry);

  const absl::Status status = FromGrpcStatus(WithDetails(sent));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "the queue is full");
  const ErrorInfo got = GetErrorInfo(status);
  EXPECT_EQ(got.reason, "QUEUE_FULL");
  EXPECT_EQ(got.field, "queue");
  EXPECT_EQ(got.value, "4097");
  EXPECT_EQ(got.limit, "4096");
  EXPECT_EQ(got.retry_after, absl::Milliseconds(1500));
}

TEST(FromGrpcStatusTest, TakesTheFieldOfABadRequestWhereNothingElseNamesOne) {
  google::rpc::Status sent;
  sent.set_code(3);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("tokens.lengths[3]");
  sent.add_details()->PackFrom(bad);
  EXPECT_EQ(GetErrorInfo(FromGrpcStatus(WithDetails(sent))).field, "tokens.lengths[3]");
}

TEST(FromGrpcStatusTest, IsOkForOkAndEmptyWithoutDetails) {
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  const absl::Status status = FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"));
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_EQ(GetErrorInfo(status).reason, "");
  EXPECT_FALSE(GetErrorInfo(status).retry_after.has_value());
}

TEST(FromGrpcStatusTest, LivesWithDetailsAndCodesOfNonsense) {
  const grpc::Status odd(static_cast<grpc::StatusCode>(99), "odd", "\xFF\xFE not a message");
  EXPECT_TRUE(absl::IsUnknown(FromGrpcStatus(odd)));
}

TEST(FromStreamFailedTest, SaysTheSameAsAStatus) {
  v1::StreamFailed failed;
  failed.set_code(3);
  failed.set_message("too long");
  failed.set_reason("SEQUENCE_TOO_LONG");
  failed.set_field("tokens.lengths[0]");
  failed.set_value("9");
  failed.set_limit("8");
  failed.mutable_retry_after()->set_nanos(20'000'000);
  const absl::Status status = FromStreamFailed(failed);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  const ErrorInfo info = GetErrorInfo(status);
  EXPECT_EQ(info.reason, "SEQUENCE_TOO_LONG");
  EXPECT_EQ(info.field, "tokens.lengths[0]");
  EXPECT_EQ(info.value, "9");
  EXPECT_EQ(info.limit, "8");
  EXPECT_EQ(info.retry_after, absl::Milliseconds(20));
}

TEST(FromStreamFailedTest, IsNeverOk) {
  EXPECT_TRUE(absl::IsUnknown(FromStreamFailed(v1::StreamFailed())));
}

}  // namespace
}  // namespace longwave::client
