#include "server/rpc/stream_tag.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/admission/validator.h"
#include "server/rpc/proto_convert.h"
#include "server/rpc/request_decoder.h"
#include "server/rpc/row_packer.h"
#include "server/rpc/sequence_work.h"
#include "server/rpc/status_details.h"

namespace longwave {
namespace {

// Sequences whose rows take less than this are given to the batch former: a small answer is taken
// at once, so it can make no batch wait.
constexpr int64_t kBatchedBytes = 64 << 10;

// What an id takes while it waits for the last of its sequence.
constexpr int64_t kDecodedIdBytes = sizeof(int32_t);

// Progress is told in steps of at least this.
constexpr double kProgressStep = 0.005;

// How long a client whose ids found no room should wait.
constexpr std::chrono::seconds kReceivingRetry{1};

int BytesPerId(int wire_width) {
  switch (wire_width) {
    case v1::ID_WIDTH_U8:
      return 1;
    case v1::ID_WIDTH_U16:
      return 2;
    default:
      return 4;
  }
}

absl::Status BadField(const char* field, int64_t value, const std::string& limit,
                      const char* message) {
  return MakeError({.reason = ErrorReason::kInvalidField,
                    .field = field,
                    .value = absl::StrCat(value),
                    .limit = limit},
                   message);
}

}  // namespace

StreamTag::StreamTag(uint64_t id, ServiceCore* core, TraceContext trace)
    : id_(id), core_(core), recorder_(RpcMethod::kEncodeStream, core, std::move(trace)) {}

absl::Status StreamTag::Open(const v1::StreamOpen& open, const Backend& backend, Instant deadline) {
  deadline_ = deadline;
  backend_ = backend;
  if (deadline_ <= recorder_.Now()) {
    return MakeError(ErrorReason::kDeadlineExpired, "the deadline had passed");
  }
  absl::StatusOr<ValidatedRequest> valid =
      ValidateStreamOpen(ToRequestData(open.request()), backend.encoder(), core_->options().limits);
  if (!valid.ok()) return valid.status();
  request_ = *std::move(valid);
  wants_progress_ = open.progress();
  if (absl::Status status = CheckStreamFields(open); !status.ok()) return status;
  PrepareSequences(open.request(), backend.encoder().Info());
  Forecast forecast = backend.scheduler->Foresee(*backend.model, Work(), Terms());
  // Before the client has sent megabytes of ids for nothing.
  if (!forecast.verdict.ok()) return std::move(forecast.verdict);
  accepted_ = MakeAccepted(forecast.seconds);
  return absl::OkStatus();
}

absl::Status StreamTag::CheckStreamFields(const v1::StreamOpen& open) {
  const int64_t row_bytes = WireRowBytes(request_.dtype, request_.row_dim);
  chunk_bytes_ = open.max_chunk_bytes() == 0 ? kMaxChunkBytes : open.max_chunk_bytes();
  if (chunk_bytes_ > kMaxChunkBytes || chunk_bytes_ < row_bytes) {
    return BadField("open.max_chunk_bytes", chunk_bytes_,
                    absl::StrCat("[", row_bytes, ", ", kMaxChunkBytes, "]"),
                    "a chunk holds at least one row and is bounded");
  }
  first_row_ = static_cast<int64_t>(open.resume_from_row());
  if (first_row_ != 0 && request_.sequences.size() != 1) {
    return BadField("open.resume_from_row", first_row_, "0",
                    "only a request of one sequence can be resumed");
  }
  if (first_row_ < 0 || first_row_ > request_.total_rows) {
    return BadField("open.resume_from_row", first_row_, absl::StrCat(request_.total_rows),
                    "there are no rows to resume from");
  }
  int64_t sent = 0;
  for (const ValidatedSequence& sequence : request_.sequences) sent += sequence.tokens_in;
  const int64_t room = core_->options().max_receiving_bytes / kDecodedIdBytes;
  if (sent > room) {  // AddIds would refuse it for ever
    return MakeError({.reason = ErrorReason::kRequestTooLarge,
                      .field = "tokens.lengths",
                      .value = absl::StrCat(sent, " tokens"),
                      .limit = absl::StrCat(room, " tokens")},
                     "the server does not hold so many ids at once");
  }
  return absl::OkStatus();
}

void StreamTag::PrepareSequences(const v1::EncodeRequest& request, const EncoderInfo& info) {
  std::vector<WantedIds> wanted;
  const int64_t row_bytes = WireRowBytes(request_.dtype, request_.row_dim);
  int64_t batched_bytes = 0;  // taken at once, whatever waits already
  int64_t refusable_bytes = 0;
  for (const ValidatedSequence& sequence : request_.sequences) {
    wanted.push_back(
        {.total = sequence.tokens_in, .skip = sequence.first_kept, .keep = sequence.tokens_used});
    const int64_t rows = sequence.output.RowCount(sequence.tokens_used);
    summaries_.push_back({.tokens_in = sequence.tokens_in,
                          .tokens_used = sequence.tokens_used,
                          .truncated = sequence.truncated,
                          .rows = rows});
    may_refuse_.push_back(wants_progress_ || rows * row_bytes > kBatchedBytes);
    (may_refuse_.back() ? refusable_bytes : batched_bytes) += rows * row_bytes;
  }
  fractions_.resize(summaries_.size());
  recorder_.Describe(request_, summaries_);
  id_width_ = BytesPerId(request.tokens().id_width());
  ids_.emplace(id_width_, info.vocab_size, std::move(wanted));
  output_.emplace(TagOutput::Options{.dtype = request_.dtype,
                                     .dim = request_.row_dim,
                                     .max_chunk_bytes = chunk_bytes_,
                                     .budget_bytes = core_->options().stream_buffer_bytes});
  reply_bytes_ = batched_bytes + std::min(refusable_bytes, core_->options().stream_buffer_bytes);
  reply_memory_ = std::make_shared<HostReservation>();
}

RequestTerms StreamTag::Terms() const {
  return {.priority = request_.priority,
          .deadline = deadline_,
          .tenant = tenant_,
          .reply_bytes = reply_bytes_,
          .reply = reply_memory_};
}

std::vector<SequenceWork> StreamTag::Work() const {
  std::vector<SequenceWork> work = WorkOf(request_);
  for (size_t s = 0; s < work.size(); ++s) work[s].streamed = may_refuse_[s];
  return work;
}

v1::StreamAccepted StreamTag::MakeAccepted(double seconds) const {
  v1::StreamAccepted accepted;
  accepted.set_predicted_seconds(seconds);
  accepted.set_chunk_bytes(static_cast<uint32_t>(chunk_bytes_));
  accepted.set_fingerprint(backend_.encoder().Info().fingerprint);
  accepted.set_total_rows(static_cast<uint64_t>(request_.total_rows));
  accepted.set_dim(static_cast<uint32_t>(request_.row_dim));
  return accepted;
}

absl::Status StreamTag::AddIds(const v1::StreamData& data) {
  if (static_cast<int64_t>(data.ids().size()) > kMaxChunkBytes) {
    return MakeError({.reason = ErrorReason::kRequestTooLarge,
                      .field = "data.ids",
                      .value = absl::StrCat(data.ids().size(), " bytes"),
                      .limit = absl::StrCat(kMaxChunkBytes, " bytes")},
                     "the ids of one message are bounded");
  }
  // Counted as they come, not as declared: what is promised and never sent takes no room. Of all
  // that came, since pieces of an id become one.
  const int64_t received = ids_->received_bytes() + static_cast<int64_t>(data.ids().size());
  const int64_t ids = (received + id_width_ - 1) / id_width_;
  const int64_t bytes = ids * kDecodedIdBytes - reserved_bytes_;
  if (!core_->ReserveReceiving(bytes)) {
    return MakeError({.reason = ErrorReason::kMemoryFull, .retry_after = kReceivingRetry},
                     "too many ids are arriving at once");
  }
  reserved_bytes_ += bytes;
  return ids_->Add(data.offset(), data.ids());
}

absl::StatusOr<std::vector<SequenceTask>> StreamTag::Close() {
  if (absl::Status status = ids_->Finish(); !status.ok()) return status;
  core_->ReleaseReceiving(std::exchange(reserved_bytes_, 0));
  recorder_.trace().decoded = recorder_.Now();
  std::vector<std::vector<int32_t>> ids = ids_->Take();
  std::vector<SequenceTask> tasks;
  tasks.reserve(ids.size());
  for (size_t s = 0; s < ids.size(); ++s) {
    tasks.push_back({.token_ids = std::move(ids[s]),
                     .output = std::move(request_.sequences[s].output),
                     .route = request_.route,
                     .streamed = may_refuse_[s]});
  }
  ids_.reset();
  unfinished_ = tasks.size();
  phase_ = Phase::kRunning;
  recorder_.Admitted(recorder_.Now());
  return tasks;
}

RowSink::Answer StreamTag::OnRows(size_t sequence, int64_t first_row, RowBlock rows) {
  if (!error_.ok()) return RowSink::Answer::kTaken;  // nobody wants them
  if (const int64_t skip = std::min(first_row_ - first_row, rows.rows); skip > 0) {
    rows.values.remove_prefix(static_cast<size_t>(skip * rows.dim));
    rows.rows -= skip;
    first_row += skip;
    if (rows.rows == 0) return RowSink::Answer::kTaken;
  }
  const auto wire_sequence = static_cast<uint32_t>(sequence);
  if (!may_refuse_[sequence]) {
    output_->Take(wire_sequence, first_row, rows);
    return RowSink::Answer::kTaken;
  }
  const RowSink::Answer answer = output_->Offer(wire_sequence, first_row, rows);
  if (answer == RowSink::Answer::kRefused && refused_since_ == Instant{}) {
    refused_since_ = recorder_.Now();
  }
  return answer;
}

void StreamTag::OnProgress(size_t sequence, double fraction) {
  if (!wants_progress_) return;
  fractions_[sequence] = fraction;
  double done = 0;
  for (size_t s = 0; s < fractions_.size(); ++s) {
    done += fractions_[s] * static_cast<double>(summaries_[s].tokens_used);
  }
  const double share = done / static_cast<double>(std::max<int64_t>(request_.total_tokens, 1));
  if (share - progress_told_ >= kProgressStep) progress_ = std::min(share, 1.0);
}

void StreamTag::OnSequenceEnd(size_t sequence, absl::StatusOr<SequenceReport> result,
                              const SequenceTimes& times) {
  SequenceSummary& summary = summaries_[sequence];
  summary.times = times;
  if (result.ok()) {
    summary.report = *result;
    recorder_.MergeSequence(summary);
  } else if (error_.ok()) {
    error_ = std::move(result).status();
    output_->Clear();
  }
  if (--unfinished_ == 0) phase_ = Phase::kEnded;
}

void StreamTag::Fail(absl::Status error) {
  if (error_.ok()) error_ = std::move(error);
  core_->ReleaseReceiving(std::exchange(reserved_bytes_, 0));
  ids_.reset();
  accepted_.reset();
  progress_.reset();
  if (output_.has_value()) output_->Clear();
  if (phase_ == Phase::kReceiving) phase_ = Phase::kEnded;
}

void StreamTag::NotSubmitted(absl::Status error) {
  recorder_.NotAdmitted();
  unfinished_ = 0;
  Fail(std::move(error));
  phase_ = Phase::kEnded;
}

std::optional<v1::EncodeStreamResponse> StreamTag::NextMessage() {
  v1::EncodeStreamResponse message;
  message.set_tag(id_);
  if (accepted_.has_value()) {
    *message.mutable_accepted() = *std::exchange(accepted_, std::nullopt);
  } else if (progress_.has_value()) {
    progress_told_ = *std::exchange(progress_, std::nullopt);
    message.mutable_progress()->set_fraction(progress_told_);
  } else if (output_.has_value() && output_->HasChunk()) {
    *message.mutable_chunk() = TakeChunk();
  } else if (phase_ != Phase::kEnded) {
    return std::nullopt;
  } else if (error_.ok()) {
    *message.mutable_done() = MakeDone();
  } else {
    // Where several sequences send rows, no single row says where to go on.
    const bool resumable = output_.has_value() && summaries_.size() == 1;
    const int64_t next_row = resumable ? std::max(output_->next_row(), first_row_) : 0;
    *message.mutable_failed() =
        ToStreamFailed(error_, static_cast<uint64_t>(next_row), NextJitter());
    Abandon();
  }
  return message;
}

void StreamTag::Abandon() {
  recorder_.End(error_);
  over_ = true;
}

v1::StreamChunk StreamTag::TakeChunk() {
  v1::StreamChunk chunk = output_->PopChunk();
  if (ServiceMetrics* metrics = core_->metrics(); metrics != nullptr) {
    if (!chunk_told_) {
      metrics->FirstChunk(recorder_.longest_sequence(),
                          ToSeconds(recorder_.Now() - recorder_.trace().arrived));
    }
    metrics->StreamChunk(static_cast<int64_t>(chunk.embeddings().data().size()));
  }
  chunk_told_ = true;
  return chunk;
}

v1::StreamDone StreamTag::MakeDone() {
  const EncoderInfo& info = backend_.encoder().Info();
  v1::StreamDone done;
  for (const SequenceSummary& summary : summaries_) {
    *done.add_sequences() = ToSequenceInfo(summary);
  }
  *done.mutable_execution() = ToExecution(info, summaries_);
  done.set_total_rows(static_cast<uint64_t>(request_.total_rows));
  done.set_model(info.model);
  done.set_model_version(info.version);
  done.set_model_digest(info.weights_digest);
  done.set_request_id(request_.request_id);
  // Serialise ends here: every chunk has been handed to the wire.
  recorder_.trace().serialised = recorder_.Now();
  *done.mutable_timings() = ToProtoTimings(recorder_.Finish());
  Abandon();
  return done;
}

bool StreamTag::TakeReady() {
  if (!output_.has_value() || !output_->TakeReady()) return false;
  if (core_->metrics() != nullptr && refused_since_ != Instant{}) {
    core_->metrics()->StreamStalled(ToSeconds(recorder_.Now() - refused_since_));
  }
  refused_since_ = Instant{};
  return true;
}

}  // namespace longwave
