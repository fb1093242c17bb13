#ifndef LONGWAVE_TESTS_UNIT_RPC_ENCODE_STREAM_FIXTURE_H_
#define LONGWAVE_TESTS_UNIT_RPC_ENCODE_STREAM_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "server/rpc/crc32c.h"
#include "tests/unit/rpc/rpc_fixture.h"

namespace longwave {

// One stream of a client, written and read message by message.
class EncodeStreamTest : public RpcFixture {
 protected:
  static constexpr int64_t kDim = 16;  // FakeEncoder's
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

}  // namespace longwave

#endif  // LONGWAVE_TESTS_UNIT_RPC_ENCODE_STREAM_FIXTURE_H_
