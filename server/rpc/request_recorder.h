#ifndef LONGWAVE_SERVER_RPC_REQUEST_RECORDER_H_
#define LONGWAVE_SERVER_RPC_REQUEST_RECORDER_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/base/request_trace.h"
#include "server/admission/encode_request.h"
#include "server/admission/tenant.h"
#include "server/observability/service_metrics.h"
#include "server/rpc/response_encoder.h"
#include "server/rpc/service_core.h"
#include "server/rpc/trace_parent.h"

namespace longwave {

// Follows one request (of a stream: one tag) from its arrival to its end and reports it exactly
// once: what the reply says and what the histograms say are the same stamps. Not thread-safe: the
// owner of the request locks.
class RequestRecorder {
 public:
  // Stamps the arrival.
  RequestRecorder(RpcMethod method, ServiceCore* core, TraceContext context);
  // Reports what nobody ended as INTERNAL.
  ~RequestRecorder();
  RequestRecorder(const RequestRecorder&) = delete;
  RequestRecorder& operator=(const RequestRecorder&) = delete;

  RequestTrace& trace() { return trace_; }
  Instant Now() const { return core_->clock().Now(); }

  // Who calls; null: nobody says.
  void SetTenant(const Tenant* tenant) {
    if (tenant != nullptr) tenant_ = tenant->name;
  }
  // What is known once the request is valid.
  void Describe(const ValidatedRequest& request, absl::Span<const SequenceSummary> sequences);
  // Set before the hand-over to the scheduler, taken back if that refuses.
  void Admitted(Instant when);
  void NotAdmitted() { record_.admitted = false; }
  // Merges the stamps of one sequence that ended well.
  void MergeSequence(const SequenceSummary& summary);

  // Stamps the end of the request, for a reply that carries the times; later calls repeat it.
  StageTimes Finish();
  // Reports. Only the first call counts.
  void End(const absl::Status& status);
  bool ended() const { return ended_; }

  int64_t longest_sequence() const { return record_.longest_sequence; }

 private:
  void Log(const absl::Status& status) const;

  ServiceCore* const core_;
  RequestTrace trace_;
  RequestRecord record_;
  const TraceContext context_;
  std::string tenant_;
  std::string request_id_;
  int64_t longest_computed_ = 0;  // among the sequences that ended well
  bool ended_ = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REQUEST_RECORDER_H_
