// What replies, ids and failures may take of the host while clients do not read: the whole server,
// with its scheduler and an encoder without mathematics.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "longwave/v1/encoder_service.grpc.pb.h"
#include "model/api/fake_encoder.h"
#include "server/rpc/rpc_server.h"
#include "tests/unit/rpc/recording_metrics.h"

namespace longwave {
namespace {

using std::chrono::seconds;
using Stream = grpc::ClientReaderWriter<v1::EncodeStreamRequest, v1::EncodeStreamResponse>;

constexpr int64_t kRowBytes = 16 * sizeof(float);
constexpr uint32_t kTokens = 32768;  // 2 MiB of rows, far more than a connection holds
constexpr int64_t kReplyBytes = kTokens * kRowBytes;
// Room for one such request with its ids, not for two.
constexpr int64_t kRoomForOne = 3 << 20;
// How long a test waits for what must come, before it fails.
constexpr seconds kPatience{30};

// Also how many requests were open at once.
class GaugeMetrics final : public RecordingMetrics {
 public:
  void RequestStarted(RpcMethod method) override {
    {
      MutexLock lock(&mutex_);
      most_ = std::max(most_, ++open_);
    }
    RecordingMetrics::RequestStarted(method);
  }
  void RequestEnded(const RequestRecord& record) override {
    {
      MutexLock lock(&mutex_);
      --open_;
    }
    RecordingMetrics::RequestEnded(record);
  }
  int64_t most() {
    MutexLock lock(&mutex_);
    return most_;
  }

 private:
  Mutex mutex_;
  int64_t open_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t most_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A scheduler whose Foresee can be held up, as if a request took long to check. Thread-safe.
class SlowForesight final : public Scheduler {
 public:
  explicit SlowForesight(std::unique_ptr<Scheduler> scheduler) : scheduler_(std::move(scheduler)) {}

  void Hold() {
    MutexLock lock(&mutex_);
    held_ = true;
  }
  void AwaitHeld() {
    MutexLock lock(&mutex_);
    while (waiting_ == 0) changed_.Wait(&mutex_);
  }
  void Release() {
    MutexLock lock(&mutex_);
    held_ = false;
    changed_.NotifyAll();
  }

  Forecast Foresee(const ServedModel& model, absl::Span<const SequenceWork> shapes,
                   const RequestTerms& terms) const override {
    {
      MutexLock lock(&mutex_);
      ++waiting_;
      changed_.NotifyAll();
      while (held_) changed_.Wait(&mutex_);
      --waiting_;
    }
    return scheduler_->Foresee(model, shapes, terms);
  }
  absl::StatusOr<Ticket> Submit(std::vector<SequenceTask> tasks,
                                const RequestTerms& terms) override {
    return scheduler_->Submit(std::move(tasks), terms);
  }
  void Cancel(Ticket ticket, absl::Status reason) override {
    scheduler_->Cancel(ticket, std::move(reason));
  }
  void OnSinkReady(Ticket ticket) override { scheduler_->OnSinkReady(ticket); }
  SchedulerView View() const override { return scheduler_->View(); }
  void BeginDrain() override { scheduler_->BeginDrain(); }
  bool AwaitIdle(Instant deadline) override { return scheduler_->AwaitIdle(deadline); }

 private:
  const std::unique_ptr<Scheduler> scheduler_;
  mutable Mutex mutex_;
  mutable CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  mutable int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

// A unary Encode whose client reads the reply only when told to.
class UntakenCall final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  UntakenCall(const std::shared_ptr<grpc::Channel>& channel, const v1::EncodeRequest& request)
      : stub_(channel) {
    const grpc::Slice slice(request.SerializeAsString());
    request_ = grpc::ByteBuffer(&slice, 1);
    stub_.PrepareBidiStreamingCall(&context_, "/longwave.v1.EncoderService/Encode", {}, this);
    AddHold();
    StartWriteLast(&request_, {});
    StartCall();
  }
  void Take() {
    StartRead(&reply_);
    RemoveHold();
  }
  grpc::Status Await() {
    std::future<grpc::Status> ended = ended_.get_future();
    if (ended.wait_for(kPatience) != std::future_status::ready) {
      ADD_FAILURE() << "the call does not end";
      context_.TryCancel();
    }
    return ended.get();
  }

  void OnDone(const grpc::Status& status) override { ended_.set_value(status); }

 private:
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer reply_;
  std::promise<grpc::Status> ended_;
};

class ReplyMemoryTest : public ::testing::Test {
 protected:
  ~ReplyMemoryTest() override {
    if (context_ != nullptr) context_->TryCancel();
  }

  void Start(const CallOptions& calls, int64_t max_host_bytes = int64_t{1} << 30) {
    SchedulerOptions options;
    options.admission.max_host_bytes = max_host_bytes;
    options.admission.max_wait_seconds = 60;
    auto scheduler = Scheduler::Create(options, &clock_, nullptr);
    ASSERT_TRUE(scheduler.ok()) << scheduler.status();
    scheduler_ = std::make_unique<SlowForesight>(*std::move(scheduler));
    auto server = RpcServer::Create({.address = "127.0.0.1:0"}, calls, encoder_.Info().max_tokens,
                                    &clock_, &metrics_, /*log=*/nullptr);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    server_->Serve({.model = model_, .scheduler = scheduler_.get()});
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // the window stays at its 64 KiB
    channel_ = grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                         grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::EncoderService::NewStub(channel_);
  }
  void Connect() {
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(std::chrono::system_clock::now() + 2 * kPatience);  // no test hangs
    stream_ = stub_->EncodeStream(context_.get());
  }

  static v1::EncodeRequest MakeRequest(uint32_t tokens) {
    v1::EncodeRequest request;
    request.mutable_tokens()->set_id_width(v1::ID_WIDTH_U8);
    request.mutable_tokens()->add_lengths(tokens);
    request.mutable_tokens()->set_ids(std::string(tokens, '\1'));
    request.mutable_output()->set_pooling(v1::POOLING_NONE);
    return request;
  }
  // Why Encode refuses it; empty: it does not.
  std::string WhyRefused(uint32_t tokens) {
    grpc::ClientContext context;
    v1::EncodeResponse response;
    const grpc::Status status = stub_->Encode(&context, MakeRequest(tokens), &response);
    if (status.ok()) return "";
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    EXPECT_TRUE(details.ParseFromString(status.error_details())) << status.error_message();
    if (details.details_size() > 0) details.details(0).UnpackTo(&info);
    return info.reason();
  }
  // Memory is given back on another thread, and nothing but an answer tells.
  void AwaitRoom() {
    const Instant latest = clock_.Now() + kPatience;
    std::string refusal = WhyRefused(kTokens);
    while (refusal == "MEMORY_FULL" && clock_.Now() < latest) refusal = WhyRefused(kTokens);
    EXPECT_EQ(refusal, "");
  }
  v1::EstimateEncodeResponse Estimate(const v1::EstimateEncodeRequest& request) {
    grpc::ClientContext context;
    v1::EstimateEncodeResponse response;
    EXPECT_TRUE(stub_->EstimateEncode(&context, request, &response).ok());
    return response;
  }

  static v1::EncodeStreamRequest MakeOpen(uint64_t tag, const std::vector<uint32_t>& lengths,
                                          v1::IdWidth width = v1::ID_WIDTH_U8) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    v1::EncodeRequest& request = *message.mutable_open()->mutable_request();
    request.mutable_tokens()->set_id_width(width);
    request.mutable_tokens()->mutable_lengths()->Add(lengths.begin(), lengths.end());
    request.mutable_output()->set_pooling(v1::POOLING_NONE);
    return message;
  }
  static v1::EncodeStreamRequest MakeData(uint64_t tag, uint64_t offset, std::string ids) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_data()->set_offset(offset);
    message.mutable_data()->set_ids(std::move(ids));
    return message;
  }
  static v1::EncodeStreamRequest MakeEnd(uint64_t tag) {
    v1::EncodeStreamRequest message;
    message.set_tag(tag);
    message.mutable_end();
    return message;
  }
  void Send(uint64_t tag, uint32_t tokens) {
    EXPECT_TRUE(stream_->Write(MakeOpen(tag, {tokens})));
    EXPECT_TRUE(stream_->Write(MakeData(tag, 0, std::string(tokens, '\1'))));
    EXPECT_TRUE(stream_->Write(MakeEnd(tag)));
  }
  v1::EncodeStreamResponse Read() {
    v1::EncodeStreamResponse message;
    EXPECT_TRUE(stream_->Read(&message)) << "the stream has ended";
    return message;
  }
  // Reads all that a tag says; returns its rows.
  uint64_t ReadToTheEnd() {
    uint64_t rows = 0;
    while (true) {
      const v1::EncodeStreamResponse message = Read();
      rows += message.chunk().embeddings().rows();
      if (message.has_chunk() || message.has_accepted()) continue;
      EXPECT_TRUE(message.has_done()) << message.failed().reason();
      return rows;
    }
  }

  const SteadyClock clock_;
  GaugeMetrics metrics_;
  FakeEncoder encoder_;
  const std::shared_ptr<ServedModel> model_ = std::make_shared<ServedModel>(
      std::shared_ptr<Encoder>(std::shared_ptr<Encoder>(), &encoder_));
  std::unique_ptr<SlowForesight> scheduler_;
  std::unique_ptr<RpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::EncoderService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
};

TEST_F(ReplyMemoryTest, AUnaryReplyCountsUntilItIsTaken) {
  Start({}, kRoomForOne);
  UntakenCall untaken(channel_, MakeRequest(kTokens));
  metrics_.AwaitEnded(1);
  scheduler_->AwaitIdle(kNever);
  EXPECT_EQ(WhyRefused(kTokens), "MEMORY_FULL");
  EXPECT_EQ(WhyRefused(1000), "") << "there is room for this";
  untaken.Take();
  EXPECT_TRUE(untaken.Await().ok());
  AwaitRoom();
}

// Seconds of the server's deadline and of its patience with a slow reader: the later one holds.
class GivingUpTest : public ReplyMemoryTest,
                     public ::testing::WithParamInterface<std::pair<double, double>> {};

TEST_P(GivingUpTest, AUnaryReplyThatIsNotTakenIsGivenUp) {
  const auto [deadline, stall] = GetParam();
  Start({.max_deadline_seconds = deadline, .max_stall_seconds = stall}, kRoomForOne);
  const Instant start = clock_.Now();
  UntakenCall untaken(channel_, MakeRequest(kTokens));
  EXPECT_EQ(metrics_.AwaitEnded(1)[0].record.code, absl::StatusCode::kOk) << "it was computed";
  AwaitRoom();
  EXPECT_GT(clock_.Now() - start, FromSeconds(std::max(deadline, stall))) << "before its time";
  untaken.Take();
  EXPECT_FALSE(untaken.Await().ok());
}

INSTANTIATE_TEST_SUITE_P(Seconds, GivingUpTest,
                         ::testing::Values(std::pair(2.0, 0.1), std::pair(1.0, 2.0)));

TEST_F(ReplyMemoryTest, RowsOfATagCountUntilTheyAreTaken) {
  Start({}, kRoomForOne);
  Connect();
  Send(1, kTokens);
  EXPECT_TRUE(Read().has_accepted());
  const uint64_t first_rows = Read().chunk().embeddings().rows();
  EXPECT_GT(first_rows, 0u);
  scheduler_->AwaitIdle(kNever);
  EXPECT_EQ(WhyRefused(kTokens), "MEMORY_FULL");
  EXPECT_EQ(first_rows + ReadToTheEnd(), kTokens);
  AwaitRoom();
}

TEST_F(ReplyMemoryTest, ATagCountsWhatItReturns) {
  Start({}, /*max_host_bytes=*/64 << 10);  // far less than stream_buffer_bytes
  Connect();
  for (uint64_t tag = 1; tag <= 3; ++tag) {
    Send(tag, 10);
    EXPECT_EQ(ReadToTheEnd(), 10u);
  }
}

TEST_F(ReplyMemoryTest, SmallSequencesThatNeverWaitCountWhollyAndLargeOnesByTheBuffer) {
  Start({.stream_buffer_bytes = 1 << 20}, /*max_host_bytes=*/2 << 20);
  Connect();
  // 40 times 60 KiB: batched, so the buffer does not bound them.
  ASSERT_TRUE(stream_->Write(MakeOpen(1, std::vector<uint32_t>(40, 60 * 1024 / kRowBytes))));
  EXPECT_EQ(Read().failed().reason(), "MEMORY_FULL");
  // 3 MiB which wait for their reader, 1 MiB at a time.
  ASSERT_TRUE(stream_->Write(MakeOpen(2, {3 * (1 << 20) / kRowBytes})));
  EXPECT_TRUE(Read().has_accepted());
}

TEST_F(ReplyMemoryTest, IdsInPiecesOfAnIdAreCounted) {
  Start({.max_receiving_bytes = 64});
  Connect();
  constexpr uint32_t kIds = 10;
  for (uint64_t tag = 1; tag <= 2; ++tag) {
    ASSERT_TRUE(stream_->Write(MakeOpen(tag, {kIds}, v1::ID_WIDTH_U32)));
    EXPECT_TRUE(Read().has_accepted());
    for (uint64_t offset = 0; offset < 4 * kIds - 1; offset += 3) {
      ASSERT_TRUE(stream_->Write(MakeData(tag, offset, std::string(3, '\0'))));
    }
  }
  const v1::EncodeStreamResponse failed = Read();
  EXPECT_EQ(failed.tag(), 2u);
  EXPECT_EQ(failed.failed().reason(), "MEMORY_FULL");
}

TEST_F(ReplyMemoryTest, FailuresThatNobodyReadsStopTheReading) {
  constexpr int kTags = 4;
  Start({.max_stall_seconds = 0.3, .max_stream_tags = kTags});
  Connect();
  for (uint64_t tag = 1; stream_->Write(MakeEnd(tag)); ++tag) {
  }
  // The stream was given up, and until then:
  EXPECT_LE(metrics_.most(), kTags + 1);
}

TEST_F(ReplyMemoryTest, RefusedOpensThatNobodyReadsStopTheReading) {
  constexpr int kTags = 4;
  Start({.max_stall_seconds = 0.3, .max_stream_tags = kTags});
  Connect();
  for (uint64_t tag = 1; stream_->Write(MakeOpen(tag, {1})); ++tag) {
  }
  EXPECT_LE(metrics_.most(), kTags + 1);
}

TEST_F(ReplyMemoryTest, FailuresThatAreReadLetTheReadingGoOn) {
  Start({.max_stream_tags = 1});
  Connect();
  constexpr uint64_t kStrays = 20'000;
  std::thread writer([this] {
    for (uint64_t tag = 1; tag <= kStrays; ++tag) {
      EXPECT_TRUE(stream_->Write(MakeEnd(tag)));
    }
    Send(kStrays + 1, 1);
  });
  for (uint64_t tag = 1; tag <= kStrays && !HasFailure(); ++tag) {
    const v1::EncodeStreamResponse message = Read();
    EXPECT_EQ(message.tag(), tag);
    EXPECT_EQ(message.failed().reason(), "PROTOCOL_VIOLATION");
  }
  EXPECT_EQ(Read().tag(), kStrays + 1);
  writer.join();
}

TEST_F(ReplyMemoryTest, RowsDoNotWaitForTheCheckingOfAnotherOpen) {
  Start({});
  Connect();
  encoder_.AddFault({.kind = FakeFault::Kind::kHang, .at = FakeFault::At::kStep, .call = 0});
  Send(1, 10);
  encoder_.AwaitHang();
  scheduler_->Hold();
  ASSERT_TRUE(stream_->Write(MakeOpen(2, {10})));
  scheduler_->AwaitHeld();
  encoder_.Release();
  auto rows = std::async(std::launch::async, [this] { return ReadToTheEnd(); });
  EXPECT_EQ(rows.wait_for(kPatience / 3), std::future_status::ready) << "the executor waits";
  scheduler_->Release();
  EXPECT_EQ(rows.get(), 10u);
  EXPECT_EQ(Read().tag(), 2u);
}

TEST_F(ReplyMemoryTest, AnEstimateSaysWhatEncodeWouldOfItsReply) {
  Start({}, /*max_host_bytes=*/1 << 20);
  v1::EstimateEncodeRequest request;
  request.add_lengths(kTokens);
  request.mutable_output()->set_pooling(v1::POOLING_NONE);
  EXPECT_EQ(WhyRefused(kTokens), "MEMORY_FULL");
  EXPECT_EQ(Estimate(request).reason(), "MEMORY_FULL");
  // The scales do not fit beside their rows.
  request.set_lengths(0, 190'000);
  request.mutable_output()->set_dtype(v1::DATA_TYPE_INT8);
  EXPECT_EQ(Estimate(request).reason(), "REQUEST_TOO_LARGE");
}

TEST_F(ReplyMemoryTest, AnEstimateSaysWhatEncodeWouldOfTheServersDeadline) {
  Start({.max_deadline_seconds = 0.5});
  v1::EstimateEncodeRequest request;
  request.add_lengths(1 << 20);  // predicted: a second
  EXPECT_EQ(Estimate(request).reason(), "DEADLINE_UNMEETABLE");
}

}  // namespace
}  // namespace longwave
