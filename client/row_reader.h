#ifndef LONGWAVE_CLIENT_ROW_READER_H_
#define LONGWAVE_CLIENT_ROW_READER_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/deadline.h"
#include "client/options.h"
#include "client/request_builder.h"
#include "longwave/v1/encoder_service.grpc.pb.h"

namespace longwave::client {

// What the server said when it took the request.
struct StreamShape {
  int64_t total_rows = 0;
  int64_t dim = 0;
  double predicted_seconds = 0;
  std::string fingerprint;
};

// Where an earlier reader of the same sequence with the same options came to.
struct StreamStart {
  int64_t first_row = 0;  // the first row that is still wanted; 0: from the beginning
  StreamShape shape;      // what the server said then; rows of another fingerprint are refused
};

// Consecutive rows; valid until the reader's next call.
struct RowView {
  int64_t first_row = 0;
  int64_t rows = 0;  // 0: the end
  int64_t dim = 0;
  absl::Span<const float> values;  // rows x dim
};

// Reads the rows of one sequence in order as they come, so that rows larger than memory can be
// handled. Each chunk's CRC is checked. A stream that breaks (UNAVAILABLE, a reset), or is pushed back
// with a time to wait, is opened again from the first row not yet read, as often as
// StreamRetryOptions says and only while the server's fingerprint stays the same: rows of one
// reader all come from the same weights, build and device class.
//
// One thread reads; Cancel may be called from any.
class RowReader {
 public:
  // Opens the stream and waits until the server takes the request. `progress` (may be empty) is
  // called from inside Next with the share of the computation done.
  static absl::StatusOr<std::unique_ptr<RowReader>> Open(
      std::shared_ptr<v1::EncoderService::Stub> stub, TokenSequence sequence,
      const EncodeOptions& options, const StreamRetryOptions& retry, Deadline deadline,
      std::function<void(double)> progress, const StreamStart& start = {});
  // Cancels what has not ended.
  ~RowReader();
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  const StreamShape& shape() const { return shape_; }
  // The next rows, or a view without rows at the end. Once it has failed it fails with the same
  // status again.
  absl::StatusOr<RowView> Next();
  // Ends the call: a Next under way and all further ones return CANCELLED.
  void Cancel();

  // How it was computed. Complete once Next has returned the end.
  const v1::StreamDone& summary() const { return done_; }
  // How many EncodeStream calls were begun, in vain or not: 1 where nothing went wrong.
  int attempts() const { return attempts_; }
  // How often a stream that had been taken broke and was taken up again, however many attempts
  // each time needed.
  int resumes() const { return resumes_; }

 private:
  using Stream = grpc::ClientReaderWriter<v1::EncodeStreamRequest, v1::EncodeStreamResponse>;

  RowReader(std::shared_ptr<v1::EncoderService::Stub> stub, const StreamRetryOptions& retry,
            Deadline deadline, std::function<void(double)> progress);

  absl::Status OpenUntilAccepted();
  absl::Status OpenOnce();
  absl::Status SendIds();
  absl::Status AwaitAccepted();
  absl::Status CheckAccepted(const v1::StreamAccepted& accepted);
  // Reads one message and, if it was a chunk, sets `view_`.
  absl::Status ReadMessage();
  absl::Status TakeChunk(v1::StreamChunk chunk);
  absl::Status TakeDone(v1::StreamDone done);
  // Waits before another try; or returns `status` if there is none.
  absl::Status WaitToRetry(const absl::Status& status);
  // Ends the current attempt's call because of `status`, and returns the status that tells why.
  absl::Status EndAttempt(absl::Status status);
  bool StartAttempt();
  // As the stream's own; false sets broken_.
  bool Read(v1::EncodeStreamResponse* message);
  bool Write(const v1::EncodeStreamRequest& message);
  // After a failed write: what the server said before it ended the call.
  absl::Status FailureLeftBehind();

  const std::shared_ptr<v1::EncoderService::Stub> stub_;
  const StreamRetryOptions retry_;
  const Deadline deadline_;
  const std::function<void(double)> progress_;
  v1::EncodeRequest request_;  // everything but ids
  PackedIds ids_;

  std::unique_ptr<Stream> stream_;
  bool broken_ = false;  // the current attempt's call has ended
  bool accepted_ = false;
  StreamShape shape_;
  int64_t next_row_ = 0;
  int failures_ = 0;  // attempts that failed since the last row
  int attempts_ = 0;
  int resumes_ = 0;
  bool ended_ = false;
  absl::Status status_;
  v1::StreamDone done_;
  std::vector<float> values_;
  RowView view_;

  std::mutex mutex_;  // guards all below
  std::condition_variable cancel_condition_;
  bool cancelled_ = false;
  std::unique_ptr<grpc::ClientContext> context_;  // of the current attempt
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_ROW_READER_H_
