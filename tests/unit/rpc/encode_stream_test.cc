// EncodeStream through the port: multiplexing, chunks, resume, and slow readers.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "model/base/error.h"
#include "tests/unit/rpc/encode_stream_fixture.h"

namespace longwave {
namespace {

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

}  // namespace
}  // namespace longwave
