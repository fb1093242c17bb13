#include "server/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/impl/server_builder_option.h>

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/credentials.h"
#include "server/rpc/deadline.h"

namespace longwave {
namespace {

using std::chrono::milliseconds;

// How long calls may take to write their last status once they were told to end.
constexpr milliseconds kLastWords{2000};
// The same where a second signal says that nobody wants to wait.
constexpr milliseconds kHurriedLastWords{500};

// A port that has refused no call for so long may shut down (kLongestUnrest).
constexpr milliseconds kQuiet{100};

// A peer that is gone without a word is noticed after a minute and a half.
constexpr milliseconds kKeepaliveTime{60'000};
constexpr milliseconds kKeepaliveTimeout{30'000};
// Clients may ping this often; more is met with GOAWAY.
constexpr milliseconds kShortestPingInterval{10'000};
// All metadata of a call together; tracing headers and tokens fit many times.
constexpr int kMaxMetadataBytes = 16 << 10;
// Threads of gRPC's synchronous services. Only reflection is one, and each of its streams holds a
// thread.
constexpr int kMaxSyncThreads = 16;

// Reflection for this server or not. The library, once linked, adds it to every server.
class ReflectionOption final : public grpc::ServerBuilderOption {
 public:
  explicit ReflectionOption(bool enabled) : enabled_(enabled) {}

  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    auto reflection = std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
    std::erase_if(*plugins,
                  [&](const auto& plugin) { return plugin->name() == reflection->name(); });
    if (enabled_) plugins->push_back(std::move(reflection));
  }

 private:
  const bool enabled_;
};

int Milliseconds(milliseconds duration) { return static_cast<int>(duration.count()); }

void SetConnectionLimits(const PortOptions& port, grpc::ServerBuilder& builder) {
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a taken port is an error
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
                             static_cast<int>(port.handshake_timeout_seconds * 1000));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, Milliseconds(kKeepaliveTime));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(kKeepaliveTimeout));
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             Milliseconds(kShortestPingInterval));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, port.max_concurrent_streams);
  if (port.max_connection_age_seconds > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                               static_cast<int>(port.max_connection_age_seconds * 1000));
  }
}

void SetMessageLimits(int64_t longest_sequence, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(MaxReceiveBytes(longest_sequence)));
  builder.SetMaxSendMessageSize(static_cast<int>(kMaxReplyBytes));
  // Embeddings do not compress, and what is not accepted cannot be a compression bomb.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
}

}  // namespace

RpcServer::RpcServer(const CallOptions& calls, const Clock* clock, ServiceMetrics* metrics,
                     Logger* log, PortAccess access)
    : core_(calls, clock, metrics, log, access.authenticator),
      service_(&core_),
      inference_(&core_),
      health_(&core_.guard()),
      unknown_methods_(&core_.guard()),
      credentials_(MakeServerCredentials(access.tls)) {}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Create(
    const PortOptions& port, const CallOptions& calls, int64_t longest_sequence, const Clock* clock,
    ServiceMetrics* metrics, Logger* log, PortAccess access) {
  CallOptions options = calls;
  options.max_open_calls = int64_t{2} * port.max_concurrent_streams;
  std::unique_ptr<RpcServer> result(new RpcServer(options, clock, metrics, log, access));
  grpc::ServerBuilder builder;
  SetConnectionLimits(port, builder);
  SetMessageLimits(longest_sequence, builder);
  grpc::ResourceQuota quota("longwave");
  quota.SetMaxThreads(kMaxSyncThreads);
  quota.Resize(static_cast<size_t>(port.max_transport_bytes));
  builder.SetResourceQuota(quota);
  builder.SetOption(std::make_unique<ReflectionOption>(port.reflection));
  absl::Status listening = result->Listen(port.address, result->credentials_, builder);
  if (!listening.ok()) return listening;
  builder.RegisterService(&result->service_);
  builder.RegisterService(&result->inference_);
  builder.RegisterService(&result->health_);
  builder.RegisterCallbackGenericService(&result->unknown_methods_);
  result->server_ = builder.BuildAndStart();
  if (result->server_ == nullptr || result->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("--address: cannot listen on ", port.address, " (in use, or not an address)"));
  }
  // Now rather than when it is needed: a system that is short of threads must be left too.
  result->shutdown_thread_ = std::thread([server = result.get()] { server->ShutDownWhenTold(); });
  result->StartAccepting();
  return result;
}

absl::Status RpcServer::Listen(const std::string& address,
                               const std::shared_ptr<grpc::ServerCredentials>& credentials,
                               grpc::ServerBuilder& builder) {
  if (absl::StartsWith(address, "unix:")) {
    builder.AddListeningPort(address, credentials, &port_);
    return absl::OkStatus();
  }
  auto listener = Listener::Open(address, core_.log());
  if (!listener.ok()) return listener.status();
  listener_ = *std::move(listener);
  port_ = listener_->port();
  using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  acceptor_ = builder.experimental().AddExternalConnectionAcceptor(Type::FROM_FD, credentials);
  return absl::OkStatus();
}

void RpcServer::StartAccepting() {
  if (listener_ == nullptr) return;
  listener_->Start([this](OwnedFd fd) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.fd = fd.Release();
    acceptor_->HandleNewConnection(&connection);
  });
}

RpcServer::~RpcServer() {
  StopAccepting();
  if (!shutdown_thread_.joinable()) return;  // never served
  health_.EndWatches();
  core_.BeginDrain();
  core_.Abort();
  ShutDown(std::chrono::steady_clock::now());
  shutdown_thread_.join();
}

void RpcServer::ShutDown(Instant cut_off) {
  MutexLock lock(&mutex_);
  if (!cut_off_.has_value()) cut_off_ = cut_off;
  changed_.NotifyAll();
}

void RpcServer::ShutDownWhenTold() {
  Instant cut_off;
  {
    MutexLock lock(&mutex_);
    while (!cut_off_.has_value()) changed_.Wait(&mutex_);
    cut_off = *cut_off_;
  }
  server_->Shutdown(ToGrpcTime(cut_off));
  MutexLock lock(&mutex_);
  shut_down_ = true;
  changed_.NotifyAll();
}

void RpcServer::Serve(Backend backend) {
  core_.Serve(std::move(backend));
  health_.SetServing(kHealthStartup, true);
  health_.SetServing(kHealthEncoder, true);
  health_.SetServing(kHealthServer, true);
}

void RpcServer::SetNotReady() {
  core_.SetNotReady();
  // Not kHealthLive: a process that drains is alive, and restarting it would cut its calls off.
  health_.SetServing(kHealthServer, false);
  health_.SetServing(kHealthEncoder, false);
}

RpcServer::DrainOutcome RpcServer::Drain(Instant deadline, const std::function<void()>& end_rest) {
  SetNotReady();
  health_.EndWatches();
  core_.BeginDrain();
  AwaitQuiet();
  StopAccepting();
  ShutDown(std::max(deadline, core_.clock().Now()) + kLastWords);
  DrainOutcome outcome;
  if (AwaitShutdown(deadline)) return outcome;
  outcome.clean = core_.open_requests() == 0;
  end_rest();
  core_.Abort();
  outcome.stuck = !AwaitLastWords();
  return outcome;
}

bool RpcServer::AwaitLastWords() {
  // The calls are cancelled after kLastWords; what is not gone twice as long after is stuck.
  Instant patience = std::chrono::steady_clock::now() + 2 * kLastWords;
  bool told = false;
  MutexLock lock(&mutex_);
  while (!shut_down_) {
    if (hurried_ && !std::exchange(told, true)) {
      patience = std::min(patience, std::chrono::steady_clock::now() + kHurriedLastWords);
    }
    if (!changed_.WaitUntil(&mutex_, patience)) return shut_down_;
  }
  return true;
}

void RpcServer::AwaitQuiet() {
  const Instant start = core_.clock().Now();
  const Instant latest = start + kLongestUnrest;
  MutexLock lock(&mutex_);
  while (!hurried_) {
    const Instant quiet = std::max(start, core_.last_refused()) + kQuiet;
    const Instant now = core_.clock().Now();
    if (now >= std::min(quiet, latest)) return;
    changed_.WaitUntil(&mutex_, std::min(quiet, latest));
  }
}

bool RpcServer::AwaitShutdown(Instant deadline) {
  MutexLock lock(&mutex_);
  while (!shut_down_ && !hurried_) {
    if (!changed_.WaitUntil(&mutex_, deadline)) break;
  }
  return shut_down_;
}

void RpcServer::Hurry() {
  MutexLock lock(&mutex_);
  hurried_ = true;
  changed_.NotifyAll();
}

}  // namespace longwave
