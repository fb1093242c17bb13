#ifndef LONGWAVE_SERVER_RPC_ENCODE_STREAM_REACTOR_H_
#define LONGWAVE_SERVER_RPC_ENCODE_STREAM_REACTOR_H_

#include <grpcpp/alarm.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "longwave/v1/encode.pb.h"
#include "model/base/mutex.h"
#include "server/rpc/service_core.h"
#include "server/rpc/stream_tag.h"

namespace longwave {

// One EncodeStream call: reads messages, keeps a StreamTag per open request, and writes what the
// tags have to say, one message at a time, tags in turn. Rows that find the tag's buffer full are
// refused, so a slow reader pauses its own computation and nothing else.
class EncodeStreamReactor final
    : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
      public DrainListener,
      public std::enable_shared_from_this<EncodeStreamReactor> {
 public:
  // Handles a call; the reactor owns itself until gRPC, the scheduler and its timer are done.
  static grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Start(
      ServiceCore* core, grpc::CallbackServerContext* context);

  EncodeStreamReactor(ServiceCore* core, grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnDrain() override;
  void OnAbort() override;

 private:
  class Consumer;
  using TagPtr = std::shared_ptr<StreamTag>;

  // What a handler decided under the lock, to be done without it: the scheduler may call back at
  // once, and gRPC may write to its socket.
  struct Decided {
    std::vector<std::pair<Scheduler::Ticket, absl::Status>> cancel;
    std::vector<Scheduler::Ticket> ready;
    bool write = false;
    std::optional<grpc::Status> finish;
  };
  void Do(Decided decided);

  void Begin();
  void Handle(const v1::EncodeStreamRequest& message);
  void HandleOpen(uint64_t id, const v1::StreamOpen& open);
  // Whether a tag may begin; if not, the client is told why.
  bool MayOpen(uint64_t id, Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A tag that is open or has failed. Reads nothing that is guarded.
  TagPtr MakeTag(uint64_t id, const v1::StreamOpen& open) const;
  void Insert(const TagPtr& tag) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Who opens a request: the key is asked for anew each time.
  absl::StatusOr<std::shared_ptr<const Tenant>> IdentifyOpen(const v1::StreamOpen& open) const;
  void HandleData(uint64_t id, const v1::StreamData& data, Decided& decided)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleCancel(uint64_t id, Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleEnd(uint64_t id);
  void HandleStray(uint64_t id, const char* what) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddFailed(uint64_t id, absl::Status error) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Submit(const TagPtr& tag, std::vector<SequenceTask> tasks);
  // Whether a message may be read now. More tags than may be open are there because failures wait
  // to be told: then nothing is read, so that their number is bounded, until OnWriteDone.
  bool MayRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  RowSink::Answer OnRows(StreamTag& tag, size_t sequence, int64_t first_row, RowBlock rows);
  void OnProgress(StreamTag& tag, size_t sequence, double fraction);
  void OnSequenceEnd(StreamTag& tag, size_t sequence, absl::StatusOr<SequenceReport> result,
                     const SequenceTimes& times);

  TagPtr Find(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fail(StreamTag& tag, const absl::Status& error, Decided& decided)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailAll(const absl::Status& error, Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the whole call with an error: its tags are told nothing more.
  void Break(const absl::Status& error, Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Decides the next write, or the end of the call.
  void Advance(Decided& decided) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TakeNextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(StreamTag& tag) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void Arm(Instant when) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnTimer();

  ServiceCore* const core_;
  const GuardedCall guarded_;
  grpc::CallbackServerContext* const context_;
  const TraceContext trace_;
  const Instant call_deadline_;     // kNever: the caller gave none
  Scheduler* scheduler_ = nullptr;  // set before the first read
  grpc::ByteBuffer in_;             // owned by gRPC while a read is outstanding
  bool heard_ = false;              // a message has come; of reads, which follow one another
  grpc::ByteBuffer out_;            // owned by gRPC while writing_

  Mutex mutex_;
  std::map<uint64_t, TagPtr> tags_ ABSL_GUARDED_BY(mutex_);
  // Ended while the client may still be sending for them: such messages are expected strays.
  std::set<uint64_t> ended_early_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_written_ ABSL_GUARDED_BY(mutex_) = 0;  // whose turn it was
  TagPtr writing_tag_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  Instant write_started_ ABSL_GUARDED_BY(mutex_){};
  Instant idle_since_ ABSL_GUARDED_BY(mutex_){};
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool reading_paused_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status broken_ ABSL_GUARDED_BY(mutex_);  // what ends the whole call
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
  Instant armed_for_ ABSL_GUARDED_BY(mutex_) = kNever;
  std::shared_ptr<EncodeStreamReactor> self_;  // until OnDone
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_STREAM_REACTOR_H_
