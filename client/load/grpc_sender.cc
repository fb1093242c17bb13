#include "client/load/grpc_sender.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <functional>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/error_info.h"
#include "client/load/random.h"
#include "client/service_config.h"
#include "client/version.h"

namespace longwave::load {
namespace {

// Ids of documents are cut from one row of random ids, at places that differ.
constexpr uint32_t kIdPool = (1 << 20) + (1 << 17);
// One byte an id keeps requests as small as those of text.
constexpr uint32_t kByteIds = 256;

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + duration.nanos() * 1e-9;
}

uint64_t Hash(const std::string& bytes) { return std::hash<std::string_view>()(bytes); }

bool IsNumericAddress(absl::string_view target) {
  return target.find_first_not_of("0123456789.:[]") == absl::string_view::npos;
}

grpc::ChannelArguments MakeArguments(const GrpcSenderOptions& options) {
  const bool retries = options.retries;
  grpc::ChannelArguments arguments;
  // Without retries the balancing still is that of the service config.
  arguments.SetServiceConfigJSON(
      retries ? std::string(client::DefaultServiceConfig())
              : std::string(R"({"loadBalancingConfig":[{"round_robin":{}}]})"));
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, retries ? 1 : 0);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, 8 << 20);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetMaxReceiveMessageSize(8 << 20);
  arguments.SetUserAgentPrefix(absl::StrCat("longwave-load/", client::Version()));
  if (!options.tls_server_name.empty()) {
    arguments.SetSslTargetNameOverride(options.tls_server_name);
  }
  return arguments;
}

}  // namespace

struct GrpcSender::Call {
  int64_t number = 0;
  grpc::ClientContext context;
  v1::EncodeRequest request;
  v1::EncodeResponse response;
};

absl::StatusOr<std::string> JoinTargets(absl::Span<const std::string> targets) {
  if (targets.size() == 1) return targets[0];
  for (const std::string& target : targets) {
    if (!IsNumericAddress(target)) {
      return absl::InvalidArgumentError(
          absl::StrCat(target,
                       ": of several targets each must be a numeric address; one name may "
                       "stand for several"));
    }
  }
  const bool v6 = std::any_of(targets.begin(), targets.end(), [](const std::string& target) {
    return absl::StartsWith(target, "[");
  });
  return absl::StrCat(v6 ? "ipv6:" : "ipv4:", absl::StrJoin(targets, ","));
}

absl::StatusOr<std::unique_ptr<GrpcSender>> GrpcSender::Create(GrpcSenderOptions options) {
  const absl::StatusOr<std::string> target = JoinTargets(options.targets);
  if (!target.ok()) return target.status();
  if (options.credentials == nullptr) options.credentials = grpc::InsecureChannelCredentials();
  std::unique_ptr<GrpcSender> sender(new GrpcSender(std::move(options), *target));
  if (absl::Status fetched = sender->FetchModel(); !fetched.ok()) return fetched;
  return sender;
}

GrpcSender::GrpcSender(GrpcSenderOptions options, const std::string& target)
    : options_(std::move(options)) {
  for (int i = 0; i < options_.connections; ++i) {
    stubs_.push_back(v1::EncoderService::NewStub(
        grpc::CreateCustomChannel(target, options_.credentials, MakeArguments(options_))));
  }
}

GrpcSender::~GrpcSender() {
  CancelAll();
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
}

absl::Status GrpcSender::FetchModel() {
  v1::GetModelRequest request;
  request.set_model(options_.model);
  request.set_model_version(options_.model_version);
  v1::GetModelResponse response;
  // Every connection is made before the run, so that no call pays for one.
  for (const auto& stub : stubs_) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    if (!options_.groups.empty()) AddHeaders(options_.groups[0], &context);
    absl::Status status = client::FromGrpcStatus(stub->GetModel(&context, request, &response));
    if (!status.ok()) return status;
  }
  model_ = std::move(*response.mutable_model());
  MakeDocuments(model_.vocab_size());
  return absl::OkStatus();
}

void GrpcSender::MakeDocuments(uint32_t vocabulary) {
  const uint32_t ids = std::clamp<uint32_t>(vocabulary, 1, kByteIds);
  Random random(options_.seed);
  id_pool_.resize(kIdPool);
  for (char& id : id_pool_) id = static_cast<char>(random.Next() % ids);
}

void GrpcSender::AddHeaders(const GroupCalls& group, grpc::ClientContext* context) const {
  for (const auto& [key, value] : group.metadata) context->AddMetadata(key, value);
  const std::string& api_key = group.api_key.empty() ? options_.api_key : group.api_key;
  if (!api_key.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", api_key));
}

void GrpcSender::FillIds(const PlannedCall& planned, v1::TokenBatch* tokens) const {
  const uint32_t room = kIdPool - planned.tokens;
  const uint32_t place = static_cast<uint32_t>(uint64_t{planned.document} * 7919 % (room + 1));
  tokens->set_ids(id_pool_.data() + place, planned.tokens);
  tokens->set_id_width(v1::ID_WIDTH_U8);
  tokens->add_lengths(planned.tokens);
}

void GrpcSender::Use(CallObserver* observer, const SteadyLoadClock* clock) {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] { return unfinished_ == 0; });
  observer_ = observer;
  clock_ = clock;
}

void GrpcSender::Send(int64_t number, const PlannedCall& planned) {
  const GroupCalls& group = options_.groups[planned.group];
  auto owned = std::make_unique<Call>();
  Call* const call = owned.get();
  call->number = number;
  call->request.set_model(options_.model);
  call->request.set_model_version(options_.model_version);
  call->request.set_priority(group.priority);
  call->request.set_tenant(group.tenant);
  call->request.mutable_output()->set_pooling(group.pooling);
  FillIds(planned, call->request.mutable_tokens());
  AddHeaders(group, &call->context);
  if (group.deadline_seconds < std::numeric_limits<double>::infinity()) {
    call->context.set_deadline(clock_->SystemTime(planned.due_seconds + group.deadline_seconds));
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    calls_.emplace(number, std::move(owned));
    ++unfinished_;
  }
  v1::EncoderService::Stub& stub = *stubs_[next_stub_];
  next_stub_ = (next_stub_ + 1) % stubs_.size();
  stub.async()->Encode(&call->context, &call->request, &call->response,
                       [this, call](grpc::Status status) { OnReply(call, status); });
}

void GrpcSender::OnReply(Call* call, const grpc::Status& status) {
  CallResult result;
  const bool empty = call->response.embeddings().data().empty();
  if (status.ok() && empty) {
    result.code = absl::StatusCode::kDataLoss;
  } else if (status.ok()) {
    result.model_identity =
        absl::StrCat(call->response.model_digest(), " ", call->response.execution().fingerprint());
    result.content = Hash(call->response.embeddings().data());
    result.queue_seconds = Seconds(call->response.timings().queue());
    result.compute_seconds = Seconds(call->response.timings().compute());
    result.server_seconds = Seconds(call->response.timings().total());
  } else {
    const absl::Status error = client::FromGrpcStatus(status);
    result.code = error.code();
    result.reason = client::GetErrorInfo(error).reason;
  }
  const int64_t number = call->number;
  observer_->OnDone(number, std::move(result));
  std::unique_ptr<Call> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = calls_.find(number);
    ended = std::move(found->second);
    calls_.erase(found);
  }
  // A channel must not die on one of gRPC's threads: the call lets go of its own first.
  ended.reset();
  std::lock_guard<std::mutex> lock(mutex_);
  if (--unfinished_ == 0) idle_.notify_all();
}

void GrpcSender::Cancel(int64_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = calls_.find(number);
  if (found != calls_.end()) found->second->context.TryCancel();
}

void GrpcSender::CancelAll() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [number, call] : calls_) call->context.TryCancel();
}

}  // namespace longwave::load
