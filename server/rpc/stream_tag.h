#ifndef LONGWAVE_SERVER_RPC_STREAM_TAG_H_
#define LONGWAVE_SERVER_RPC_STREAM_TAG_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "longwave/v1/encode.pb.h"
#include "server/rpc/id_receiver.h"
#include "server/rpc/request_recorder.h"
#include "server/rpc/response_encoder.h"
#include "server/rpc/service_core.h"
#include "server/rpc/tag_output.h"

namespace longwave {

// One request of a stream: what is known of it and what it has to say next. The reactor owns it and
// locks; nothing here calls back.
class StreamTag {
 public:
  enum class Phase {
    kReceiving,  // ids are arriving
    kRunning,    // the scheduler has it
    kEnded,      // only messages are left to write
  };

  // A tag whose Open was refused says so and is gone.
  StreamTag(uint64_t id, ServiceCore* core, TraceContext trace);

  // Checks the Open; `backend` is the tag's to its end, whatever is in service then. After an error
  // call Fail with it.
  absl::Status Open(const v1::StreamOpen& open, const Backend& backend, Instant deadline);
  // As IdReceiver; counts the bytes against the server's budget (MEMORY_FULL).
  absl::Status AddIds(const v1::StreamData& data);
  // All ids are there: the tasks, without consumers. From here the tag is running.
  absl::StatusOr<std::vector<SequenceTask>> Close();

  RowSink::Answer OnRows(size_t sequence, int64_t first_row, RowBlock rows);
  void OnProgress(size_t sequence, double fraction);
  void OnSequenceEnd(size_t sequence, absl::StatusOr<SequenceReport> result,
                     const SequenceTimes& times);
  // Ends the tag, or marks it if sequences are still running: the first error is told.
  void Fail(absl::Status error);
  // The scheduler took none of the sequences.
  void NotSubmitted(absl::Status error);

  // The next message, if there is one. kEnded and the last message taken: the tag is over and has
  // been reported.
  std::optional<v1::EncodeStreamResponse> NextMessage();
  // Reports a tag that nobody listens to any more.
  void Abandon();
  // The message taken last is on its way.
  void MessageWritten() {
    if (output_.has_value()) output_->ChunkWritten();
  }
  // As TagOutput::TakeReady.
  bool TakeReady();

  // Null: nobody says who calls.
  void SetTenant(std::shared_ptr<const Tenant> tenant) {
    recorder_.SetTenant(tenant.get());
    tenant_ = std::move(tenant);
  }
  const std::shared_ptr<const Tenant>& tenant() const { return tenant_; }

  uint64_t id() const { return id_; }
  Phase phase() const { return phase_; }
  // Precondition: opened.
  const std::shared_ptr<ServedModel>& model() const { return backend_.model; }
  Instant deadline() const { return deadline_; }
  // Once Open has succeeded.
  RequestTerms Terms() const;
  const absl::Status& error() const { return error_; }
  bool over() const { return over_; }

  // Set by the reactor.
  std::optional<Scheduler::Ticket> ticket;
  bool ready_before_ticket = false;  // TakeReady was true before Submit returned
  bool end_received = false;         // the client sends nothing more for this tag

 private:
  // Those fields of an Open that a unary request does not have.
  absl::Status CheckStreamFields(const v1::StreamOpen& open);
  void PrepareSequences(const v1::EncodeRequest& request, const EncoderInfo& info);
  std::vector<SequenceWork> Work() const;
  v1::StreamAccepted MakeAccepted(double seconds) const;
  v1::StreamChunk TakeChunk();
  v1::StreamDone MakeDone();

  const uint64_t id_;
  ServiceCore* const core_;
  Phase phase_ = Phase::kReceiving;
  RequestRecorder recorder_;
  std::shared_ptr<const Tenant> tenant_;
  Backend backend_;
  Instant deadline_{};
  ValidatedRequest request_;
  int64_t first_row_ = 0;  // resume_from_row
  bool wants_progress_ = false;
  int64_t chunk_bytes_ = 0;
  int id_width_ = 1;
  int64_t reserved_bytes_ = 0;  // of CallOptions::max_receiving_bytes
  int64_t reply_bytes_ = 0;     // that output_ may hold
  // Goes with the tag, when the client has taken its last message.
  std::shared_ptr<HostReservation> reply_memory_;
  std::optional<IdReceiver> ids_;
  std::optional<TagOutput> output_;
  std::vector<SequenceSummary> summaries_;
  std::vector<bool> may_refuse_;  // per sequence: streamed
  std::vector<double> fractions_;
  size_t unfinished_ = 0;
  absl::Status error_;
  std::optional<v1::StreamAccepted> accepted_;
  std::optional<double> progress_;
  double progress_told_ = 0;
  bool chunk_told_ = false;
  Instant refused_since_{};
  bool over_ = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_STREAM_TAG_H_
