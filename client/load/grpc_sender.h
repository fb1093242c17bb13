#ifndef LONGWAVE_CLIENT_LOAD_GRPC_SENDER_H_
#define LONGWAVE_CLIENT_LOAD_GRPC_SENDER_H_

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <condition_variable>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/load/call_sender.h"
#include "client/load/load_clock.h"
#include "longwave/v1/encoder_service.grpc.pb.h"

namespace longwave::load {

// How the calls of one group look.
struct GroupCalls {
  double deadline_seconds = std::numeric_limits<double>::infinity();
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;
  v1::Pooling pooling = v1::POOLING_UNSPECIFIED;
  std::string tenant;
  std::string api_key;  // empty: that of GrpcSenderOptions
  std::vector<std::pair<std::string, std::string>> metadata;
};

struct GrpcSenderOptions {
  // "host:port". Several are balanced round robin and must be numeric addresses.
  std::vector<std::string> targets;
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // null: plaintext
  std::string tls_server_name;                            // empty: the target's
  std::string api_key;                                    // empty: none
  std::string model;                                      // empty: the server's default
  std::string model_version;
  bool retries = false;  // as the service config says
  // Servers bound the streams of one connection.
  int connections = 4;
  uint64_t seed = 1;
  std::vector<GroupCalls> groups;
};

// The gRPC target that stands for all of `targets`; INVALID_ARGUMENT if several are given and one
// is not a numeric address.
absl::StatusOr<std::string> JoinTargets(absl::Span<const std::string> targets);

// Sends Encode calls without waiting for them. The ids of a call are a function of seed, length and
// document alone. Destroying it waits for what is in flight.
class GrpcSender final : public CallSender {
 public:
  // Asks the server for its model; the error is the server's.
  static absl::StatusOr<std::unique_ptr<GrpcSender>> Create(GrpcSenderOptions options);
  ~GrpcSender() override;

  const v1::Model& model() const { return model_; }
  // Before the first Send of a run. Waits for what is in flight; both outlive the sender or the
  // next Use.
  void Use(CallObserver* observer, const SteadyLoadClock* clock);

  void Send(int64_t number, const PlannedCall& call) override;
  void Cancel(int64_t number) override;
  void CancelAll() override;

 private:
  struct Call;

  GrpcSender(GrpcSenderOptions options, const std::string& target);
  absl::Status FetchModel();
  void MakeDocuments(uint32_t vocabulary);
  void AddHeaders(const GroupCalls& group, grpc::ClientContext* context) const;
  void FillIds(const PlannedCall& planned, v1::TokenBatch* tokens) const;
  void OnReply(Call* call, const grpc::Status& status);

  const GrpcSenderOptions options_;
  std::vector<std::unique_ptr<v1::EncoderService::Stub>> stubs_;
  v1::Model model_;
  std::string id_pool_;  // one byte an id
  CallObserver* observer_ = nullptr;
  const SteadyLoadClock* clock_ = nullptr;
  size_t next_stub_ = 0;

  std::mutex mutex_;  // guards what follows
  std::condition_variable idle_;
  int64_t unfinished_ = 0;
  std::unordered_map<int64_t, std::unique_ptr<Call>> calls_;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_GRPC_SENDER_H_
