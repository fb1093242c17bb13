// EncodeStream through the port: how tags and streams end before their last row.
#include <gtest/gtest.h>

#include <thread>

#include "model/base/error.h"
#include "tests/unit/rpc/encode_stream_fixture.h"

namespace longwave {
namespace {

using std::chrono::seconds;

using EncodeStreamEnd = EncodeStreamTest;

TEST_F(EncodeStreamEnd, CancellingATagLeavesTheStream) {
  Connect();
  Send(MakeOpen(1, {2}), "\1\2");
  ReadAccepted(1);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  Cancel(1);
  EXPECT_EQ(GetErrorDetails(scheduler_.AwaitCancelled(submitted.ticket)).reason,
            ErrorReason::kCancelled);
  EXPECT_EQ(ReadFailed(1).reason(), "CANCELLED");
  EXPECT_TRUE(Finish().ok());
}

TEST_F(EncodeStreamEnd, ACallerWhoLeavesCancelsEveryTag) {
  Connect();
  for (uint64_t tag = 1; tag <= 3; ++tag) {
    Write(MakeOpen(tag, {2}));
    ReadAccepted(tag);
  }
  for (uint64_t tag = 1; tag <= 2; ++tag) {
    Data(tag, 0, "\1\2");
    End(tag);
  }
  ManualScheduler::Request& first = scheduler_.AwaitSubmitted(1);
  ManualScheduler::Request& second = scheduler_.AwaitSubmitted(2);
  context_->TryCancel();
  for (const Scheduler::Ticket ticket : {first.ticket, second.ticket}) {
    EXPECT_EQ(GetErrorDetails(scheduler_.AwaitCancelled(ticket)).reason, ErrorReason::kCancelled);
  }
  int cancelled = 0;
  for (const auto& ended : metrics_.AwaitEnded(3)) {
    EXPECT_NE(ended.record.code, absl::StatusCode::kOk);
    cancelled += ended.record.code == absl::StatusCode::kCancelled;
  }
  // The one still receiving may have been told first that nothing more will come.
  EXPECT_GE(cancelled, 2);
  EXPECT_EQ(Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(EncodeStreamEnd, AFailedSequenceFailsItsTagWithTheRowToResumeFrom) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(1, {4});
  open.mutable_open()->set_progress(true);
  open.mutable_open()->set_max_chunk_bytes(kDim * 4);
  Send(open, "\1\2\3\4");
  ReadAccepted(1);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  EXPECT_EQ(Offer(submitted, 0, 2), RowSink::Answer::kTaken);
  EXPECT_EQ(Read().chunk().first_row(), 0u);
  EXPECT_EQ(Read().chunk().first_row(), 1u);
  scheduler_.End(submitted, 0, MakeError(ErrorReason::kNonFinite, "a row is not finite"));
  const v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.reason(), "NON_FINITE");
  EXPECT_EQ(failed.next_row(), 2u);
}

TEST_F(EncodeStreamEnd, ARequestWhoseIdsNeverComeExpires) {
  Connect({.max_stream_deadline_seconds = 1});
  Write(MakeOpen(1, {2}));
  ReadAccepted(1);
  const v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.code(), 4);
  EXPECT_EQ(failed.reason(), "DEADLINE_EXPIRED");
  // Then the stream itself, since nothing is open on it.
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(EncodeStreamEnd, TheCallsDeadlineReachesTheScheduler) {
  Start();
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_deadline(std::chrono::system_clock::now() + seconds(30));
  stream_ = stub_->EncodeStream(context_.get());
  Send(MakeOpen(1, {1}), "\1");
  EXPECT_LE(scheduler_.AwaitSubmitted(1).terms.deadline, clock_.Now() + seconds(31));
}

TEST_F(EncodeStreamEnd, LoadingRefusesTheStream) {
  Start({}, /*serve=*/false);
  grpc::ClientContext context;
  const auto stream = stub_->EncodeStream(&context);
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream->Read(&message));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(status).reason(), "LOADING");
}

TEST_F(EncodeStreamEnd, DrainEndsIdleStreamsAndLetsOpenTagsFinish) {
  Connect();
  grpc::ClientContext idle_context;
  const auto idle = stub_->EncodeStream(&idle_context);
  v1::EncodeStreamRequest known;
  known.mutable_end();
  ASSERT_TRUE(idle->Write(known));
  v1::EncodeStreamResponse message;
  ASSERT_TRUE(idle->Read(&message));  // the server has the stream

  Write(MakeOpen(1, {1}));
  ReadAccepted(1);
  std::thread drain([this] {
    EXPECT_TRUE(server_->Drain(clock_.Now() + seconds(60), [] { ADD_FAILURE(); }).clean);
  });
  EXPECT_FALSE(idle->Read(&message));
  const grpc::Status ended = idle->Finish();
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(ended).reason(), "DRAINING");

  // Draining has begun: the open tag goes on, a new one does not.
  Write(MakeOpen(2, {1}));
  EXPECT_EQ(ReadFailed(2).reason(), "DRAINING");
  Data(1, 0, "\1");
  End(1);
  ComputeAll(scheduler_.AwaitSubmitted(1));
  EXPECT_EQ(ReadRows(1), Expected({1}));
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

TEST_F(EncodeStreamEnd, AtTheEndOfTheGraceOpenTagsAreTold) {
  Connect();
  Write(MakeOpen(1, {1}));
  ReadAccepted(1);
  std::thread drain([this] { EXPECT_FALSE(server_->Drain(clock_.Now(), [] {}).clean); });
  EXPECT_EQ(ReadFailed(1).reason(), "DRAINING");
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  drain.join();
}

}  // namespace
}  // namespace longwave
