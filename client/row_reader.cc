#include "client/row_reader.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/crc32c.h"
#include "client/decode.h"
#include "client/error_info.h"

namespace longwave::client {
namespace {

constexpr uint64_t kTag = 1;                    // one request a stream
constexpr size_t kDataBytes = size_t{1} << 20;  // the API's bound on StreamData

absl::Status StreamEnded() {
  return absl::InternalError("the server ended the stream before it had sent everything");
}

constexpr char kModelChanged[] = "MODEL_CHANGED";

bool MayRetry(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kUnavailable) return true;
  // Not by us, so by a server that was shut down in that very moment.
  if (status.code() == absl::StatusCode::kCancelled) return true;
  const std::string reason = GetErrorInfo(status).reason;
  // Our servers give a reason with every error. Without one it is the transport's: a proxy whose
  // replica is killed behind the first rows can but reset the stream, which gRPC calls INTERNAL.
  if (status.code() == absl::StatusCode::kInternal && reason.empty() && status != StreamEnded()) {
    return true;
  }
  // Another replica may still have what the first rows came from.
  if (reason == kModelChanged) return true;
  return status.code() == absl::StatusCode::kResourceExhausted &&
         GetErrorInfo(status).retry_after.has_value();
}

// Clients that broke off together should not come back together.
absl::Duration WithJitter(absl::Duration delay) {
  static thread_local std::mt19937 generator{std::random_device{}()};
  return delay * std::uniform_real_distribution<double>(0.8, 1.2)(generator);
}

}  // namespace

RowReader::RowReader(std::shared_ptr<v1::EncoderService::Stub> stub,
                     const StreamRetryOptions& retry, Deadline deadline,
                     std::function<void(double)> progress)
    : stub_(std::move(stub)), retry_(retry), deadline_(deadline), progress_(std::move(progress)) {}

RowReader::~RowReader() {
  if (stream_ == nullptr) return;
  Cancel();
  stream_->Finish().ok();
}

absl::StatusOr<std::unique_ptr<RowReader>> RowReader::Open(
    std::shared_ptr<v1::EncoderService::Stub> stub, TokenSequence sequence,
    const EncodeOptions& options, const StreamRetryOptions& retry, Deadline deadline,
    std::function<void(double)> progress, const StreamStart& start) {
  std::unique_ptr<RowReader> reader(
      new RowReader(std::move(stub), retry, deadline, std::move(progress)));
  if (start.first_row > 0) {
    // As if the earlier reader's stream had broken and been taken up by this one.
    reader->next_row_ = start.first_row;
    reader->shape_ = start.shape;
    reader->accepted_ = true;
  }
  const uint32_t length = static_cast<uint32_t>(sequence.size());
  reader->request_ = MakeRequest(options, {length}, /*first=*/0);
  reader->ids_ = PackIds({sequence});
  reader->request_.mutable_tokens()->set_id_width(reader->ids_.width);
  absl::Status status = reader->OpenUntilAccepted();
  if (!status.ok()) return status;
  return reader;
}

absl::Status RowReader::OpenUntilAccepted() {
  while (true) {
    absl::Status status = OpenOnce();
    if (status.ok()) return status;
    absl::Status waited = WaitToRetry(status);
    if (!waited.ok()) return waited;
  }
}

bool RowReader::StartAttempt() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (cancelled_) return false;
  context_ = std::make_unique<grpc::ClientContext>();
  context_->set_deadline(ToGrpcTime(deadline_));
  return true;
}

absl::Status RowReader::OpenOnce() {
  if (!StartAttempt()) return absl::CancelledError("the call was cancelled");
  ++attempts_;
  stream_ = stub_->EncodeStream(context_.get());
  v1::EncodeStreamRequest message;
  message.set_tag(kTag);
  v1::StreamOpen* open = message.mutable_open();
  *open->mutable_request() = request_;
  open->set_resume_from_row(next_row_);
  open->set_progress(progress_ != nullptr);
  absl::Status status = Write(message) ? AwaitAccepted() : FailureLeftBehind();
  // Ids travel only once the request has been admitted.
  if (status.ok()) status = SendIds();
  return status.ok() ? status : EndAttempt(std::move(status));
}

bool RowReader::Read(v1::EncodeStreamResponse* message) {
  broken_ = !stream_->Read(message);
  return !broken_;
}

bool RowReader::Write(const v1::EncodeStreamRequest& message) {
  broken_ = !stream_->Write(message);
  return !broken_;
}

absl::Status RowReader::FailureLeftBehind() {
  v1::EncodeStreamResponse message;
  while (Read(&message)) {
    if (message.tag() == kTag && message.has_failed()) return FromStreamFailed(message.failed());
  }
  return StreamEnded();
}

absl::Status RowReader::AwaitAccepted() {
  v1::EncodeStreamResponse message;
  while (Read(&message)) {
    if (message.tag() != kTag) continue;
    if (message.has_failed()) return FromStreamFailed(message.failed());
    if (message.has_accepted()) return CheckAccepted(message.accepted());
  }
  return StreamEnded();
}

absl::Status RowReader::CheckAccepted(const v1::StreamAccepted& accepted) {
  const StreamShape shape{.total_rows = static_cast<int64_t>(accepted.total_rows()),
                          .dim = accepted.dim(),
                          .predicted_seconds = accepted.predicted_seconds(),
                          .fingerprint = accepted.fingerprint()};
  const bool first_time = !std::exchange(accepted_, true);
  if (!first_time && (shape.total_rows != shape_.total_rows || shape.dim != shape_.dim)) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     {.reason = kModelChanged,
                      .field = "total_rows, dim",
                      .value = absl::StrCat(shape.total_rows, ", ", shape.dim),
                      .limit = absl::StrCat(shape_.total_rows, ", ", shape_.dim)},
                     "the stream broke, and the server that would go on has another shape");
  }
  // As long as there is no row to mix with, another replica may do all of it.
  if (next_row_ > 0 && shape.fingerprint != shape_.fingerprint) {
    return MakeError(absl::StatusCode::kFailedPrecondition,
                     {.reason = kModelChanged,
                      .field = "fingerprint",
                      .value = shape.fingerprint,
                      .limit = shape_.fingerprint},
                     absl::StrCat("after ", next_row_, " of ", shape_.total_rows,
                                  " rows the stream broke, and the server that would go on has "
                                  "fingerprint '",
                                  shape.fingerprint, "' where the first rows came from '",
                                  shape_.fingerprint, "'; their rows must not be mixed"));
  }
  shape_ = shape;
  return absl::OkStatus();
}

absl::Status RowReader::SendIds() {
  for (size_t offset = 0; offset < ids_.bytes.size(); offset += kDataBytes) {
    v1::EncodeStreamRequest message;
    message.set_tag(kTag);
    message.mutable_data()->set_ids(ids_.bytes.substr(offset, kDataBytes));
    message.mutable_data()->set_offset(offset);
    if (!Write(message)) return FailureLeftBehind();
  }
  v1::EncodeStreamRequest end;
  end.set_tag(kTag);
  end.mutable_end();
  if (!Write(end)) return FailureLeftBehind();
  stream_->WritesDone();  // if the call has ended meanwhile, the next Read tells
  return absl::OkStatus();
}

absl::StatusOr<RowView> RowReader::Next() {
  view_ = {.first_row = next_row_, .dim = shape_.dim};
  while (status_.ok() && !ended_ && view_.rows == 0) {
    status_ = ReadMessage();
    if (status_.ok()) continue;
    status_ = WaitToRetry(EndAttempt(std::move(status_)));
    if (status_.ok()) {
      ++resumes_;
      status_ = OpenUntilAccepted();
    }
  }
  if (!status_.ok()) return status_;
  return view_;
}

absl::Status RowReader::ReadMessage() {
  v1::EncodeStreamResponse message;
  if (!Read(&message)) return StreamEnded();
  if (message.tag() != kTag) return absl::OkStatus();
  switch (message.message_case()) {
    case v1::EncodeStreamResponse::kChunk:
      return TakeChunk(std::move(*message.mutable_chunk()));
    case v1::EncodeStreamResponse::kDone:
      return TakeDone(std::move(*message.mutable_done()));
    case v1::EncodeStreamResponse::kFailed:
      return FromStreamFailed(message.failed());
    case v1::EncodeStreamResponse::kProgress:
      if (progress_ != nullptr) progress_(message.progress().fraction());
      return absl::OkStatus();
    default:
      return absl::OkStatus();  // what later versions add may be passed over
  }
}

absl::Status RowReader::TakeChunk(v1::StreamChunk chunk) {
  const v1::EmbeddingBlock& block = chunk.embeddings();
  const int64_t first_row = static_cast<int64_t>(chunk.first_row());
  const int64_t rows = block.rows();
  if (first_row != next_row_ || rows > shape_.total_rows - next_row_ ||
      static_cast<int64_t>(block.dim()) != shape_.dim) {
    return absl::DataLossError(absl::StrCat(
        "rows ", first_row, " to ", first_row + rows, " of width ", block.dim(), " came where row ",
        next_row_, " of ", shape_.total_rows, " of width ", shape_.dim, " was due"));
  }
  if (const uint32_t crc = Crc32c(block.data()); crc != chunk.crc32c()) {
    return absl::DataLossError(absl::StrCat("rows from ", first_row,
                                            " on were damaged on the way: CRC-32C ", crc,
                                            ", announced ", chunk.crc32c()));
  }
  if (absl::Status whole = CheckBlock(block); !whole.ok()) return whole;
  values_.resize(rows * shape_.dim);
  DecodeRows(block, absl::MakeSpan(values_));
  view_ = {.first_row = first_row, .rows = rows, .dim = shape_.dim, .values = values_};
  next_row_ += rows;
  failures_ = 0;
  return absl::OkStatus();
}

absl::Status RowReader::TakeDone(v1::StreamDone done) {
  if (next_row_ != shape_.total_rows) {
    return absl::DataLossError(
        absl::StrCat("the server is done after ", next_row_, " of ", shape_.total_rows, " rows"));
  }
  done_ = std::move(done);
  ended_ = true;
  // Everything is here, so the call's own end changes nothing any more; it is awaited so that the
  // server does not see a cancelled call.
  v1::EncodeStreamResponse rest;
  while (Read(&rest)) {
  }
  stream_->Finish().ok();
  stream_.reset();
  return absl::OkStatus();
}

absl::Status RowReader::EndAttempt(absl::Status status) {
  // A call that has ended by itself keeps its status; one that we leave is cancelled.
  if (!broken_) context_->TryCancel();
  const absl::Status finished = FromGrpcStatus(stream_->Finish());
  stream_.reset();
  std::lock_guard<std::mutex> lock(mutex_);
  if (cancelled_) return absl::CancelledError("the call was cancelled");
  // What the call says of its end is nearer to the cause than "it ended".
  return broken_ && !finished.ok() ? finished : status;
}

absl::Status RowReader::WaitToRetry(const absl::Status& status) {
  const int attempts =
      next_row_ == 0 ? retry_.attempts_before_first_row : retry_.attempts_without_progress;
  ++failures_;
  if (!MayRetry(status) || failures_ >= attempts) return status;
  absl::Duration delay = retry_.initial_backoff;
  for (int i = 1; i < failures_ && delay < retry_.max_backoff; ++i) delay *= 2;
  delay = std::min(delay, retry_.max_backoff);
  const ErrorInfo info = GetErrorInfo(status);
  // Twice in turn may have been the same one.
  if (failures_ > 1 && info.reason == "DRAINING") delay = std::max(delay, retry_.draining_backoff);
  delay = WithJitter(delay);
  // A server that names a time has already spread its clients.
  delay = info.retry_after.value_or(delay);
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(delay);
  if (until >= deadline_) return status;
  std::unique_lock<std::mutex> lock(mutex_);
  if (cancel_condition_.wait_until(lock, until, [this] { return cancelled_; })) {
    return absl::CancelledError("the call was cancelled");
  }
  return absl::OkStatus();
}

void RowReader::Cancel() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }
  cancel_condition_.notify_all();
}

}  // namespace longwave::client
