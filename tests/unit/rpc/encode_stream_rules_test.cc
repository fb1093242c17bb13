// EncodeStream through the port: broken rules, refusals and bounds, each of one tag.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/base/error.h"
#include "tests/unit/rpc/encode_stream_fixture.h"

namespace longwave {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

using EncodeStreamRules = EncodeStreamTest;

TEST_F(EncodeStreamRules, OneTagsErrorLeavesTheOthersAlone) {
  Connect();
  Write(MakeOpen(1, {2}));
  ReadAccepted(1);
  Write(MakeOpen(2, {3'000'000}));
  const v1::StreamFailed failed = ReadFailed(2);
  EXPECT_EQ(failed.code(), 3);
  EXPECT_EQ(failed.reason(), "SEQUENCE_TOO_LONG");
  Data(2, 0, "on its way before the client knew");  // ignored
  End(2);
  Data(1, 0, "\1\2");
  End(1);
  ComputeAll(scheduler_.AwaitSubmitted(1));
  EXPECT_EQ(ReadRows(1), Expected({1, 2}));
  EXPECT_TRUE(Finish().ok());
}

TEST_F(EncodeStreamRules, ATagMayBeUsedAgain) {
  Connect();
  for (size_t round = 1; round <= 3; ++round) {
    Send(MakeOpen(1, {1}), "\1");
    ReadAccepted(1);
    ComputeAll(scheduler_.AwaitSubmitted(round));
    EXPECT_EQ(ReadRows(1), Expected({1}));
  }
  // Also after a failure whose ids never came.
  Write(MakeOpen(1, {0}));
  EXPECT_EQ(ReadFailed(1).reason(), "EMPTY_SEQUENCE");
  Send(MakeOpen(1, {1}), "\1");
  ReadAccepted(1);
}

TEST_F(EncodeStreamRules, BrokenRulesAreNamed) {
  Connect();
  Data(1, 0, "x");
  EXPECT_THAT(ReadFailed(1).message(), HasSubstr("StreamData for a tag that is not open"));
  End(2);
  EXPECT_THAT(ReadFailed(2).message(), HasSubstr("StreamEnd for a tag that is not open"));
  v1::EncodeStreamRequest nothing;
  nothing.set_tag(3);
  Write(nothing);
  EXPECT_EQ(ReadFailed(3).reason(), "PROTOCOL_VIOLATION");

  Write(MakeOpen(4, {2}));
  ReadAccepted(4);
  Data(4, 1, "x");
  v1::StreamFailed failed = ReadFailed(4);
  EXPECT_EQ(failed.reason(), "PROTOCOL_VIOLATION");
  EXPECT_EQ(failed.field(), "data.offset");

  Write(MakeOpen(5, {2}));
  ReadAccepted(5);
  End(5);
  EXPECT_EQ(ReadFailed(5).reason(), "LENGTHS_MISMATCH");

  Write(MakeOpen(6, {2}));
  ReadAccepted(6);
  Data(6, 0, "abc");
  EXPECT_EQ(ReadFailed(6).reason(), "LENGTHS_MISMATCH");

  Write(MakeOpen(7, {2}));
  ReadAccepted(7);
  Write(MakeOpen(7, {2}));
  EXPECT_THAT(ReadFailed(7).message(), HasSubstr("StreamOpen for a tag that is open"));

  Write(MakeOpen(8, {2 << 20}, v1::POOLING_MEAN));
  EXPECT_EQ(ReadFailed(8).reason(), "SEQUENCE_TOO_LONG");

  Write(MakeOpen(9, {1 << 20}));
  ReadAccepted(9);
  Data(9, 0, std::string((1 << 20) + 1, '\1'));
  EXPECT_EQ(ReadFailed(9).reason(), "REQUEST_TOO_LARGE");

  Cancel(10);  // of nothing: no answer
  EXPECT_EQ(scheduler_.submitted(), 0u);
  EXPECT_TRUE(Finish().ok());
}

TEST_F(EncodeStreamRules, HalfClosingBeforeTheEndFailsTheTag) {
  Connect();
  Write(MakeOpen(1, {2}));
  ReadAccepted(1);
  stream_->WritesDone();
  EXPECT_EQ(ReadFailed(1).reason(), "PROTOCOL_VIOLATION");
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(EncodeStreamRules, AnUndecodableMessageEndsTheStream) {
  Start();
  const grpc::Status status = CallRaw("EncodeStream", "\xff\xff");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Info(status).reason(), "MALFORMED_MESSAGE");
}

TEST_F(EncodeStreamRules, ARefusedSubmissionFailsItsTagWithTheTimeToWait) {
  Connect();
  scheduler_.RefuseNext(
      MakeError({.reason = ErrorReason::kQueueFull, .retry_after = milliseconds(1000)}, "full"));
  Send(MakeOpen(1, {1}), "\1");
  ReadAccepted(1);
  const v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.reason(), "QUEUE_FULL");
  EXPECT_GE(failed.retry_after().seconds() * 1'000'000'000 + failed.retry_after().nanos(),
            800'000'000);
  EXPECT_FALSE(metrics_.AwaitEnded(1)[0].record.admitted);
}

TEST_F(EncodeStreamRules, ARefusalThatIsForeseenComesBeforeTheIds) {
  Connect();
  scheduler_.ForeseeNow(MakeError(ErrorReason::kDeadlineUnmeetable, "too late"));
  Write(MakeOpen(1, {1000}));  // and not one id
  EXPECT_EQ(ReadFailed(1).reason(), "DEADLINE_UNMEETABLE");
  EXPECT_EQ(scheduler_.submitted(), 0u);
  EXPECT_FALSE(metrics_.AwaitEnded(1)[0].record.admitted);
}

TEST_F(EncodeStreamRules, OpenTagsAreBounded) {
  Connect({.max_stream_tags = 2});
  Write(MakeOpen(1, {1}));
  Write(MakeOpen(2, {1}));
  Write(MakeOpen(3, {1}));
  ReadAccepted(1);
  ReadAccepted(2);
  const v1::StreamFailed failed = ReadFailed(3);
  EXPECT_EQ(failed.reason(), "QUEUE_FULL");
  EXPECT_EQ(failed.limit(), "2");
  EXPECT_TRUE(failed.has_retry_after());
}

TEST_F(EncodeStreamRules, IdsThatArriveAreBoundedAndTheRoomComesBack) {
  Connect({.max_receiving_bytes = 4 << 20});  // a million ids
  Write(MakeOpen(1, {1 << 20}));
  ReadAccepted(1);
  Data(1, 0, std::string(1 << 19, '\1'));
  Write(MakeOpen(2, {1 << 20}));
  ReadAccepted(2);
  Data(2, 0, std::string((1 << 19) + 1, '\1'));
  EXPECT_EQ(ReadFailed(2).reason(), "MEMORY_FULL");
  Data(1, 1 << 19, std::string(1 << 19, '\1'));
  End(1);
  scheduler_.AwaitSubmitted(1);
  Send(MakeOpen(3, {1 << 20}), std::string(1 << 20, '\1'));
  ReadAccepted(3);
  scheduler_.AwaitSubmitted(2);
}

TEST_F(EncodeStreamRules, MoreIdsThanTheServerEverHoldsAreRefusedForGood) {
  Connect({.max_receiving_bytes = 1 << 20});
  Write(MakeOpen(1, {1 << 20}));
  const v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.reason(), "REQUEST_TOO_LARGE");
  EXPECT_FALSE(failed.has_retry_after());
}

}  // namespace
}  // namespace longwave
