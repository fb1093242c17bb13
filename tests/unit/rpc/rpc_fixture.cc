#include "tests/unit/rpc/rpc_fixture.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "model/base/error.h"

namespace longwave {

RpcFixture::RpcFixture() = default;
RpcFixture::~RpcFixture() = default;

void RpcFixture::Start(CallOptions options, bool serve) {
  auto server = RpcServer::Create({.address = "127.0.0.1:0"}, options, encoder_.Info().max_tokens,
                                  &clock_, &metrics_, /*log=*/nullptr);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  if (serve) Serve();
  channel_ = NewChannel();
  stub_ = v1::EncoderService::NewStub(channel_);
}

std::shared_ptr<grpc::Channel> RpcFixture::NewChannel() const {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // tests see each answer
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials(), arguments);
}

std::future<RpcFixture::Result> RpcFixture::CallEncode(
    const v1::EncodeRequest& request, std::shared_ptr<grpc::ClientContext> context) {
  if (context == nullptr) context = std::make_shared<grpc::ClientContext>();
  return std::async(std::launch::async, [this, request, context] {
    Result result;
    result.status = stub_->Encode(context.get(), request, &result.response);
    const auto& trailers = context->GetServerTrailingMetadata();
    const auto found = trailers.find("grpc-retry-pushback-ms");
    if (found != trailers.end()) {
      result.pushback = std::string(found->second.data(), found->second.size());
    }
    return result;
  });
}

grpc::Status RpcFixture::CallRaw(const std::string& method, const std::string& bytes) {
  grpc::GenericStub generic(channel_);
  grpc::ClientContext context;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  generic.UnaryCall(&context, absl::StrCat("/longwave.v1.EncoderService/", method), {}, &request,
                    &response, [&done](grpc::Status status) { done.set_value(std::move(status)); });
  return done.get_future().get();
}

void RpcFixture::Compute(ManualScheduler::Request& request, size_t sequence) {
  SendRows(request, sequence);
  SendEnd(request, sequence);
}

void RpcFixture::SendRows(ManualScheduler::Request& request, size_t sequence) {
  const SequenceTask& task = request.tasks[sequence];
  const std::vector<float> values = encoder_.ExpectedRows(task.token_ids, task.output);
  const int64_t rows = task.output.RowCount(static_cast<int64_t>(task.token_ids.size()));
  EXPECT_EQ(
      task.consumer->OnRows(
          0, {.values = values, .rows = rows, .dim = static_cast<int64_t>(values.size()) / rows}),
      RowSink::Answer::kTaken);
}

void RpcFixture::SendEnd(ManualScheduler::Request& request, size_t sequence) {
  const Instant now = clock_.Now();
  const SequenceTimes times{
      .popped = now,
      .first_step = now,
      .last_row = now,
      .batch_tokens = static_cast<int64_t>(request.tasks[sequence].token_ids.size()),
      .batch_sequences = static_cast<int>(request.tasks.size())};
  scheduler_.End(request, sequence, SequenceReport{.route = Route::kChunkwise}, times);
}

void RpcFixture::ComputeAll(ManualScheduler::Request& request) {
  for (size_t s = 0; s < request.tasks.size(); ++s) Compute(request, s);
}

v1::EncodeRequest RpcFixture::MakeRequest(const std::vector<std::vector<uint32_t>>& sequences) {
  v1::EncodeRequest request;
  for (const std::vector<uint32_t>& ids : sequences) {
    request.mutable_tokens()->add_lengths(static_cast<uint32_t>(ids.size()));
    request.mutable_tokens()->mutable_ids_list()->Add(ids.begin(), ids.end());
  }
  return request;
}

google::rpc::ErrorInfo RpcFixture::Info(const grpc::Status& status) {
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::ErrorInfo info;
  if (details.details_size() > 0) details.details(0).UnpackTo(&info);
  return info;
}

}  // namespace longwave
