// EncodeStream through the port: multiplexing, chunks, slow readers, resume, and broken rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "model/base/error.h"
#include "server/rpc/crc32c.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr int64_t kDim = 16;

class EncodeStreamTest : public RpcFixture {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::EncodeStreamRequest, v1::EncodeStreamResponse>;

  void Connect(CallOptions options = {}) {
    Start(options);
    context_ = std::make_unique<grpc::ClientContext>();
    stream_ = stub_->EncodeStream(context_.get());
  }

  static v1::EncodeStreamRequest MakeOpen(uint64_t tag, const std::vector<uint32_t>& lengths,
                                          v1::Pooling pooling = v1::POOLING_NONE) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    v1::TokenBatch* tokens = message.mutable_open()->mutable_request()->mutable_tokens();
    tokens->set_id_width(v1::ID_WIDTH_U8);
    tokens->mutable_lengths()->Add(lengths.begin(), lengths.end());
    message.mutable_open()->mutable_request()->mutable_output()->set_pooling(pooling);
    return message;
  }
  void Write(const v1::EncodeStreamRequest& message) { ASSERT_TRUE(stream_->Write(message)); }
  void Data(uint64_t tag, uint64_t offset, const std::string& ids) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_data()->set_offset(offset);
    message.mutable_data()->set_ids(ids);
    Write(message);
  }
  void End(uint64_t tag) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_end();
    Write(message);
  }
  void Cancel(uint64_t tag) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_cancel();
    Write(message);
  }
  // Opens a request and sends all of its ids.
  void Send(const v1::EncodeStreamRequest& open, const std::string& ids) {
    Write(open);
    Data(open.tag(), 0, ids);
    End(open.tag());
  }
  v1::EncodeStreamResponse Read() {
    v1::EncodeStreamResponse message;
    EXPECT_TRUE(stream_->Read(&message)) << "the stream has ended";
    return message;
  }
  v1::StreamFailed ReadFailed(uint64_t tag) {
    const v1::EncodeStreamResponse message = Read();
    EXPECT_EQ(message.tag(), tag);
    EXPECT_TRUE(message.has_failed()) << message.ShortDebugString();
    return message.failed();
  }
  void ReadAccepted(uint64_t tag) {
    const v1::EncodeStreamResponse message = Read();
    EXPECT_EQ(message.tag(), tag);
    EXPECT_TRUE(message.has_accepted()) << message.ShortDebugString();
  }
  // Reads the chunks of one tag until its Done, checking order and sums; returns all values.
  std::vector<float> ReadRows(uint64_t tag, v1::StreamDone* done = nullptr,
                              uint64_t first_row = 0) {
    std::vector<float> values;
    uint64_t next = first_row;
    while (true) {
      const v1::EncodeStreamResponse message = Read();
      EXPECT_EQ(message.tag(), tag);
      if (message.has_done()) {
        if (done != nullptr) *done = message.done();
        return values;
      }
      if (!message.has_chunk()) {
        ADD_FAILURE() << message.ShortDebugString();
        return values;
      }
      const v1::StreamChunk& chunk = message.chunk();
      EXPECT_EQ(chunk.first_row(), next);
      EXPECT_EQ(chunk.crc32c(), Crc32c(chunk.embeddings().data()));
      EXPECT_LE(chunk.embeddings().data().size(), 1u << 20);
      next += chunk.embeddings().rows();
      const size_t old_size = values.size();
      values.resize(old_size + chunk.embeddings().data().size() / sizeof(float));
      std::memcpy(values.data() + old_size, chunk.embeddings().data().data(),
                  chunk.embeddings().data().size());
    }
  }
  // Rows of FakeEncoder for ids 0, 1, ..., all of them, normalised as the model says.
  std::vector<float> Expected(const std::vector<int32_t>& ids, Pooling pooling = Pooling::kRows) {
    OutputSpec output;
    output.pooling = pooling;
    output.normalize = encoder_.Info().default_normalize;
    return encoder_.ExpectedRows(ids, output);
  }
  // Offers rows [first, first + count) of a task's output.
  RowSink::Answer Offer(ManualScheduler::Request& request, int64_t first, int64_t count) {
    const std::vector<float> values(static_cast<size_t>(count * kDim), 1.0f);
    return request.tasks[0].consumer->OnRows(first, {.values = values, .rows = count, .dim = kDim});
  }
  // Reads until the Done of the only tag and returns how many rows came.
  int64_t ReadAll() {
    int64_t rows = 0;
    while (true) {
      const v1::EncodeStreamResponse message = Read();
      if (message.has_chunk()) rows += message.chunk().embeddings().rows();
      if (!message.has_chunk() && !message.has_accepted()) return rows;
    }
  }
  grpc::Status Finish() {
    stream_->WritesDone();
    v1::EncodeStreamResponse message;
    while (stream_->Read(&message)) {
    }
    return stream_->Finish();
  }

  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(EncodeStreamTest, RowsComeInOrderThenDone) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(7, {3});
  open.mutable_open()->mutable_request()->set_request_id("r");
  Write(open);
  const v1::EncodeStreamResponse accepted = Read();
  ASSERT_TRUE(accepted.has_accepted());
  EXPECT_EQ(accepted.tag(), 7u);
  EXPECT_EQ(accepted.accepted().total_rows(), 3u);
  EXPECT_EQ(accepted.accepted().dim(), kDim);
  EXPECT_EQ(accepted.accepted().chunk_bytes(), 1u << 20);
  EXPECT_EQ(accepted.accepted().fingerprint(), encoder_.Info().fingerprint);
  EXPECT_GT(accepted.accepted().predicted_seconds(), 0);
  EXPECT_EQ(scheduler_.submitted(), 0u) << "the ids have not come yet";
  Data(7, 0, std::string("\x00\x01", 2));
  Data(7, 2, "\x02");
  End(7);
  ComputeAll(scheduler_.AwaitSubmitted(1));
  v1::StreamDone done;
  EXPECT_EQ(ReadRows(7, &done), Expected({0, 1, 2}));
  EXPECT_EQ(done.total_rows(), 3u);
  EXPECT_EQ(done.request_id(), "r");
  EXPECT_EQ(done.model_digest(), encoder_.Info().weights_digest);
  ASSERT_EQ(done.sequences_size(), 1);
  EXPECT_EQ(done.sequences(0).tokens_used(), 3u);
  EXPECT_EQ(done.execution().routes(0), v1::ROUTE_CHUNKWISE);
  EXPECT_GT(done.timings().total().nanos(), 0);
  EXPECT_TRUE(Finish().ok());
  const auto ended = metrics_.AwaitEnded(1);
  EXPECT_EQ(ended[0].record.method, RpcMethod::kEncodeStream);
  EXPECT_EQ(ended[0].record.code, absl::StatusCode::kOk);
  EXPECT_EQ(ended[0].record.tokens, 3);
  EXPECT_EQ(metrics_.first_chunks(), 1);
}

TEST_F(EncodeStreamTest, ManyRequestsShareOneStream) {
  Connect();
  constexpr uint64_t kTags = 20;
  for (uint64_t tag = 0; tag < kTags; ++tag) {
    Send(MakeOpen(tag, {2}, v1::POOLING_MEAN), {static_cast<char>(tag), 1});
  }
  scheduler_.AwaitSubmitted(kTags);
  for (uint64_t tag = kTags; tag > 0; --tag) ComputeAll(scheduler_.AwaitSubmitted(tag));
  std::map<uint64_t, std::vector<float>> rows;
  std::set<uint64_t> done;
  while (done.size() < kTags) {
    const v1::EncodeStreamResponse message = Read();
    if (message.has_chunk()) {
      std::vector<float>& row = rows[message.tag()];
      row.resize(kDim);
      std::memcpy(row.data(), message.chunk().embeddings().data().data(), kDim * sizeof(float));
    }
    if (message.has_done()) {
      EXPECT_TRUE(done.insert(message.tag()).second);
    }
  }
  for (uint64_t tag = 0; tag < kTags; ++tag) {
    EXPECT_EQ(rows[tag], Expected({static_cast<int32_t>(tag), 1}, Pooling::kMean)) << tag;
  }
  EXPECT_TRUE(Finish().ok());
}

TEST_F(EncodeStreamTest, SmallAnswersAreGivenToTheBatchFormer) {
  Connect();
  Send(MakeOpen(1, {2}, v1::POOLING_MEAN), "\1\2");
  EXPECT_FALSE(scheduler_.AwaitSubmitted(1).tasks[0].streamed);
  v1::EncodeStreamRequest with_progress = MakeOpen(2, {2}, v1::POOLING_MEAN);
  with_progress.mutable_open()->set_progress(true);
  Send(with_progress, "\1\2");
  EXPECT_TRUE(scheduler_.AwaitSubmitted(2).tasks[0].streamed);
  Send(MakeOpen(3, {2000}), std::string(2000, '\1'));  // 128 000 bytes of rows
  EXPECT_TRUE(scheduler_.AwaitSubmitted(3).tasks[0].streamed);
}

TEST_F(EncodeStreamTest, ProgressIsToldInSteps) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(1, {2}, v1::POOLING_MEAN);
  open.mutable_open()->set_progress(true);
  Send(open, "\1\2");
  ReadAccepted(1);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  const std::shared_ptr<SequenceConsumer> consumer = submitted.tasks[0].consumer;
  consumer->OnProgress(0.001);  // too small a step
  consumer->OnProgress(0.5);
  const v1::EncodeStreamResponse message = Read();
  ASSERT_TRUE(message.has_progress());
  EXPECT_DOUBLE_EQ(message.progress().fraction(), 0.5);
  ComputeAll(submitted);
  ReadRows(1);
}

TEST_F(EncodeStreamTest, SeveralSequencesOfOneTag) {
  Connect();
  Send(MakeOpen(1, {2, 1}), "\1\2\3");
  ReadAccepted(1);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  ASSERT_EQ(submitted.tasks.size(), 2u);
  Compute(submitted, 1);
  Compute(submitted, 0);
  const v1::StreamChunk second = Read().chunk();
  EXPECT_EQ(second.sequence(), 1u);
  EXPECT_EQ(second.embeddings().rows(), 1u);
  const v1::StreamChunk first = Read().chunk();
  EXPECT_EQ(first.sequence(), 0u);
  EXPECT_EQ(first.embeddings().rows(), 2u);
  EXPECT_EQ(Read().done().total_rows(), 3u);
}

TEST_F(EncodeStreamTest, ResumeSendsTheRestAlone) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(1, {4});
  open.mutable_open()->set_resume_from_row(3);
  Send(open, "\1\2\3\4");
  ReadAccepted(1);
  ComputeAll(scheduler_.AwaitSubmitted(1));
  const std::vector<float> all = Expected({1, 2, 3, 4});
  EXPECT_EQ(ReadRows(1, nullptr, 3), std::vector<float>(all.end() - kDim, all.end()));
}

TEST_F(EncodeStreamTest, ResumeBeyondTheEndOrOfSeveralSequencesIsRefused) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(1, {4});
  open.mutable_open()->set_resume_from_row(5);
  Write(open);
  v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.reason(), "INVALID_FIELD");
  EXPECT_EQ(failed.field(), "open.resume_from_row");
  EXPECT_EQ(failed.limit(), "4");
  open = MakeOpen(2, {4, 4});
  open.mutable_open()->set_resume_from_row(1);
  Write(open);
  EXPECT_EQ(ReadFailed(2).field(), "open.resume_from_row");
}

TEST_F(EncodeStreamTest, ChunksAreAsLargeAsAskedFor) {
  Connect();
  v1::EncodeStreamRequest open = MakeOpen(1, {10});
  open.mutable_open()->set_max_chunk_bytes(3 * kDim * 4 + 1);
  Send(open, std::string(10, '\1'));
  ReadAccepted(1);
  ComputeAll(scheduler_.AwaitSubmitted(1));
  for (const uint32_t rows : {3, 3, 3, 1}) EXPECT_EQ(Read().chunk().embeddings().rows(), rows);
  EXPECT_TRUE(Read().has_done());
  for (const uint32_t bytes : {uint32_t{kDim * 4 - 1}, uint32_t{(1 << 20) + 1}}) {
    open.mutable_open()->set_max_chunk_bytes(bytes);
    Write(open);
    EXPECT_EQ(ReadFailed(1).field(), "open.max_chunk_bytes");
  }
}

TEST_F(EncodeStreamTest, ASlowReaderPausesItsOwnComputation) {
  Connect();
  constexpr int64_t kRows = 1 << 20;  // 64 MiB of rows
  constexpr int64_t kBlock = 16384;   // 1 MiB
  Write(MakeOpen(1, {kRows}));
  for (int64_t sent = 0; sent < kRows; sent += 1 << 20) {
    Data(1, sent, std::string(1 << 20, '\1'));
  }
  End(1);
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  ASSERT_TRUE(submitted.tasks[0].streamed);
  // Nobody reads. What gRPC and the sockets hold is taken, then rows are refused.
  int64_t next = 0;
  while (next < kRows && Offer(submitted, next, kBlock) == RowSink::Answer::kTaken) next += kBlock;
  ASSERT_LT(next, kRows) << "rows were taken without bound";

  // Another request of the same server is not held up.
  auto unary = CallEncode(MakeRequest({{1}}));
  ComputeAll(scheduler_.AwaitSubmitted(2));
  EXPECT_TRUE(unary.get().status.ok());

  std::thread reader([this, kRows] { EXPECT_EQ(ReadAll(), kRows); });
  while (next < kRows) {
    const size_t ready = scheduler_.ready_calls();
    if (Offer(submitted, next, kBlock) == RowSink::Answer::kTaken) {
      next += kBlock;
    } else {
      scheduler_.AwaitReady(ready + 1);
    }
  }
  scheduler_.End(submitted, 0, SequenceReport{});
  reader.join();
  EXPECT_TRUE(Finish().ok());
  EXPECT_GE(metrics_.stalls(), 1);
}

TEST_F(EncodeStreamTest, AReaderThatStopsForGoodIsGivenUp) {
  Connect({.max_stall_seconds = 0.2});
  Send(MakeOpen(1, {1 << 20}), std::string(1 << 20, '\1'));
  ManualScheduler::Request& submitted = scheduler_.AwaitSubmitted(1);
  const std::shared_ptr<SequenceConsumer> consumer = submitted.tasks[0].consumer;
  const std::vector<float> block(16384 * kDim, 1.0f);
  int64_t next = 0;
  while (consumer->OnRows(next, {.values = block, .rows = 16384, .dim = kDim}) ==
         RowSink::Answer::kTaken) {
    next += 16384;
  }
  const absl::Status reason = scheduler_.AwaitCancelled(submitted.ticket);
  EXPECT_EQ(GetErrorDetails(reason).reason, ErrorReason::kSlowReader);
  EXPECT_EQ(metrics_.AwaitEnded(1)[0].record.reason, ErrorReason::kSlowReader);
  EXPECT_FALSE(Finish().ok());
}

TEST_F(EncodeStreamTest, OneTagsErrorLeavesTheOthersAlone) {
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

TEST_F(EncodeStreamTest, ATagMayBeUsedAgain) {
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

TEST_F(EncodeStreamTest, BrokenRulesAreNamed) {
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

TEST_F(EncodeStreamTest, HalfClosingBeforeTheEndFailsTheTag) {
  Connect();
  Write(MakeOpen(1, {2}));
  ReadAccepted(1);
  stream_->WritesDone();
  EXPECT_EQ(ReadFailed(1).reason(), "PROTOCOL_VIOLATION");
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream_->Read(&message));
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(EncodeStreamTest, AnUndecodableMessageEndsTheStream) {
  Start();
  const grpc::Status status = CallRaw("EncodeStream", "\xff\xff");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Info(status).reason(), "MALFORMED_MESSAGE");
}

TEST_F(EncodeStreamTest, CancellingATagLeavesTheStream) {
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

TEST_F(EncodeStreamTest, ACallerWhoLeavesCancelsEveryTag) {
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

TEST_F(EncodeStreamTest, AFailedSequenceFailsItsTagWithTheRowToResumeFrom) {
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

TEST_F(EncodeStreamTest, ARefusedSubmissionFailsItsTagWithTheTimeToWait) {
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

TEST_F(EncodeStreamTest, ARefusalThatIsForeseenComesBeforeTheIds) {
  Connect();
  scheduler_.ForeseeNow(MakeError(ErrorReason::kDeadlineUnmeetable, "too late"));
  Write(MakeOpen(1, {1000}));  // and not one id
  EXPECT_EQ(ReadFailed(1).reason(), "DEADLINE_UNMEETABLE");
  EXPECT_EQ(scheduler_.submitted(), 0u);
  EXPECT_FALSE(metrics_.AwaitEnded(1)[0].record.admitted);
}

TEST_F(EncodeStreamTest, OpenTagsAreBounded) {
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

TEST_F(EncodeStreamTest, IdsThatArriveAreBoundedAndTheRoomComesBack) {
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

TEST_F(EncodeStreamTest, MoreIdsThanTheServerEverHoldsAreRefusedForGood) {
  Connect({.max_receiving_bytes = 1 << 20});
  Write(MakeOpen(1, {1 << 20}));
  const v1::StreamFailed failed = ReadFailed(1);
  EXPECT_EQ(failed.reason(), "REQUEST_TOO_LARGE");
  EXPECT_FALSE(failed.has_retry_after());
}

TEST_F(EncodeStreamTest, ARequestWhoseIdsNeverComeExpires) {
  Connect({.max_stream_deadline_seconds = 0.1});
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

TEST_F(EncodeStreamTest, TheCallsDeadlineReachesTheScheduler) {
  Start();
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_deadline(std::chrono::system_clock::now() + seconds(30));
  stream_ = stub_->EncodeStream(context_.get());
  Send(MakeOpen(1, {1}), "\1");
  EXPECT_LE(scheduler_.AwaitSubmitted(1).terms.deadline, clock_.Now() + seconds(31));
}

TEST_F(EncodeStreamTest, LoadingRefusesTheStream) {
  Start({}, /*serve=*/false);
  grpc::ClientContext context;
  const auto stream = stub_->EncodeStream(&context);
  v1::EncodeStreamResponse message;
  EXPECT_FALSE(stream->Read(&message));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Info(status).reason(), "LOADING");
}

TEST_F(EncodeStreamTest, DrainEndsIdleStreamsAndLetsOpenTagsFinish) {
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

TEST_F(EncodeStreamTest, AtTheEndOfTheGraceOpenTagsAreTold) {
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
