#ifndef LONGWAVE_CLIENT_BATCH_CALL_H_
#define LONGWAVE_CLIENT_BATCH_CALL_H_

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/deadline.h"
#include "client/encode_result.h"
#include "client/model_cache.h"
#include "client/options.h"
#include "client/request_plan.h"
#include "longwave/v1/encoder_service.grpc.pb.h"

namespace longwave::client {

using EncodeCallback = std::function<void(absl::StatusOr<EncodeResult>)>;

// One Encode of a list: learns the model's limits if they are not known, cuts the list into parts,
// sends at most max_in_flight of them at a time, and puts the replies together. Keeps itself alive
// until `done` has returned. Thread-safe.
//
// When `done` is called, nothing of the call holds the channel any more. That matters: callbacks
// run on threads that end with the last channel, so a channel must not die on one of them.
class BatchCall : public std::enable_shared_from_this<BatchCall> {
 public:
  // `stub` and the ids that `sequences` view outlive the call's `done`.
  BatchCall(v1::EncoderService::Stub* stub, std::shared_ptr<ModelCache> models,
            std::vector<TokenSequence> sequences, EncodeOptions options, Deadline deadline);
  ~BatchCall();

  // To be called once. `done` runs once, on a thread of gRPC or on the caller's.
  void Start(EncodeCallback done);
  // Parts under way end with CANCELLED, those not begun are not sent.
  void Cancel();

 private:
  struct ModelCall;
  struct PartCall;

  void FetchModel();
  void OnModel(const grpc::Status& status);
  void Plan(const v1::Model& model);
  void SendMore();
  void Send(PartCall* call);
  void OnReply(PartCall* call, const grpc::Status& status);
  void FinishIfDone();
  // With mutex_ held.
  void Fail(RequestPart part, absl::Status status);
  void Stop(absl::Status reason);
  void DistrustModel(const PartCall& call, const absl::Status& status);

  v1::EncoderService::Stub* const stub_;
  const std::shared_ptr<ModelCache> models_;
  const std::vector<TokenSequence> sequences_;
  const EncodeOptions options_;
  const Deadline deadline_;

  std::mutex mutex_;  // guards all below
  EncodeCallback done_;
  EncodeResultBuilder builder_;
  std::unique_ptr<ModelCall> model_call_;
  std::string fingerprint_;  // the model's, as far as known
  bool planned_ = false;
  bool one_part_ = false;
  std::deque<RequestPart> waiting_;
  std::set<std::unique_ptr<PartCall>> in_flight_;
  absl::Status stopped_;  // not OK: why nothing more is sent
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_BATCH_CALL_H_
