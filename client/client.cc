#include "client/client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/validate_service_config.h>

#include <future>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/api_key.h"
#include "client/deadline.h"
#include "client/request_builder.h"
#include "client/service_config.h"
#include "client/version.h"

namespace longwave::client {
namespace {

grpc::ChannelArguments MakeArguments(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(options.service_config_json);
  arguments.SetUserAgentPrefix(absl::StrCat("longwave-client/", Version()));
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, options.retry_buffer_bytes);
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.keepalive_time)));
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  if (!options.tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  // A server that restarts is found again within the time that retries last.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  // A name is looked up again when a connection ends, but not more often than this. By gRPC's own 30 s
  // a roll-out can replace all the replicas that a client knows before it asks for the new ones.
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 5'000);
  // Neither asks for nor accepts compression: embeddings are noise to it.
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM, GRPC_COMPRESS_NONE);
  arguments.SetInt(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE);
  return arguments;
}

absl::Status CheckKey(const ClientOptions& options) {
  if (options.api_key.empty()) return absl::OkStatus();
  if (absl::Status status = CheckApiKey(options.api_key); !status.ok()) return status;
  if (options.credentials != nullptr || IsLoopbackTarget(options.target)) return absl::OkStatus();
  return absl::InvalidArgumentError("the API key would travel in plaintext: set TLS credentials");
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!options.api_key.empty()) interceptors.push_back(MakeApiKeyInterceptor(options.api_key));
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      options.target, options.credentials, MakeArguments(options), std::move(interceptors));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Create(ClientOptions options) {
  if (options.target.empty()) return absl::InvalidArgumentError("target is empty");
  if (options.retry_buffer_bytes <= 0 || options.max_receive_bytes <= 0) {
    return absl::InvalidArgumentError("retry_buffer_bytes and max_receive_bytes must be positive");
  }
  if (options.service_config_json.empty()) {
    options.service_config_json = std::string(DefaultServiceConfig());
  }
  // Several addresses, or a name that may stand for several: "dns:///name", also as "dns:name" or
  // with a name server, "dns://server/name".
  const bool replicas =
      absl::StrContains(options.target, ',') || absl::StartsWith(options.target, "dns:");
  if (options.health_checked.value_or(replicas)) {
    options.service_config_json = WithHealthCheck(options.service_config_json);
  }
  const std::string problem =
      grpc::experimental::ValidateServiceConfigJSON(options.service_config_json);
  if (!problem.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("service_config_json: ", problem));
  }
  if (absl::Status status = CheckKey(options); !status.ok()) return status;
  if (options.credentials == nullptr) options.credentials = grpc::InsecureChannelCredentials();
  auto channel = MakeChannel(options);
  return std::unique_ptr<Client>(new Client(std::move(options), std::move(channel)));
}

Client::Client(ClientOptions options, std::shared_ptr<grpc::Channel> channel)
    : options_(std::move(options)),
      channel_(std::move(channel)),
      stub_(v1::EncoderService::NewStub(channel_)) {}

Client::~Client() { calls_.CancelAndWait(); }

absl::StatusOr<EncodeResult> Client::Encode(absl::Span<const TokenSequence> sequences,
                                            const EncodeOptions& options) {
  std::promise<absl::StatusOr<EncodeResult>> promise;
  EncodeAsync(sequences, options, [&promise](absl::StatusOr<EncodeResult> result) {
    promise.set_value(std::move(result));
  });
  return promise.get_future().get();
}

void Client::EncodeAsync(absl::Span<const TokenSequence> sequences, const EncodeOptions& options,
                         EncodeCallback done) {
  auto call = std::make_shared<BatchCall>(
      stub_.get(), models_, std::vector<TokenSequence>(sequences.begin(), sequences.end()), options,
      DeadlineAfter(options.timeout));
  const uint64_t id = calls_.Add([call] { call->Cancel(); });
  call->Start([this, id, done = std::move(done)](absl::StatusOr<EncodeResult> result) {
    done(std::move(result));
    calls_.Remove(id);
  });
}

absl::StatusOr<std::unique_ptr<RowReader>> Client::OpenRows(TokenSequence sequence,
                                                            const EncodeOptions& options,
                                                            std::function<void(double)> progress,
                                                            const StreamStart& start) {
  return RowReader::Open(stub_, sequence, options, options_.stream_retry,
                         DeadlineAfter(options.timeout), std::move(progress), start);
}

absl::StatusOr<v1::StreamDone> Client::EncodeStream(TokenSequence sequence,
                                                    const EncodeOptions& options,
                                                    RowHandler& handler) {
  auto reader =
      OpenRows(sequence, options, [&handler](double fraction) { handler.OnProgress(fraction); });
  if (!reader.ok()) return reader.status();
  absl::Status handled = handler.OnAccepted((*reader)->shape());
  while (handled.ok()) {
    const absl::StatusOr<RowView> rows = (*reader)->Next();
    if (!rows.ok()) return rows.status();
    if (rows->rows == 0) return (*reader)->summary();
    handled = handler.OnRows(*rows);
  }
  return handled;
}

absl::StatusOr<v1::EstimateEncodeResponse> Client::Estimate(absl::Span<const uint32_t> lengths,
                                                            const EncodeOptions& options) {
  grpc::ClientContext context;
  context.set_deadline(ToGrpcTime(DeadlineAfter(options.timeout)));
  v1::EstimateEncodeRequest request;
  request.set_model(options.model);
  request.set_model_version(options.model_version);
  request.mutable_lengths()->Add(lengths.begin(), lengths.end());
  *request.mutable_output() = MakeOutputSpec(options, 0, static_cast<uint32_t>(lengths.size()));
  request.set_priority(options.priority);
  request.set_route_override(options.route);
  v1::EstimateEncodeResponse response;
  absl::Status status = FromGrpcStatus(stub_->EstimateEncode(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& model, const std::string& version) {
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_model(model);
  request.set_model_version(version);
  v1::GetModelResponse response;
  absl::Status status = FromGrpcStatus(stub_->GetModel(&context, request, &response));
  if (!status.ok()) return status;
  models_->Put(model, version, std::make_shared<const v1::Model>(response.model()));
  return std::move(*response.mutable_model());
}

absl::StatusOr<HealthStatus> Client::Health(const std::string& service, absl::Duration timeout) {
  return CheckHealth(channel_, service, DeadlineAfter(timeout));
}

}  // namespace longwave::client
