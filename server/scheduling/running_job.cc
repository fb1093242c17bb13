#include "server/scheduling/running_job.h"

#include <algorithm>
#include <utility>

namespace longwave {
namespace {

// The slowest reader that may go on for ever, in bytes of rows as they are computed: a line of a
// megabit per second. Were a stall over with any row, a few readers that take a little now and then
// would keep every place of a paused job for hours.
constexpr double kLeastBytesPerSecond = 128 << 10;

}  // namespace

RunningJob::RunningJob(Sequences members, const Clock* clock)
    : clock_(*clock),
      model_(members.front()->model),
      members_(std::move(members)),
      active_(static_cast<int>(members_.size())),
      weather_(model_->cost.Weather()),
      alone_(members_.front()->alone),
      key_(members_.front()->key) {
  int64_t longest = -1;
  for (const auto& member : members_) {
    if (member->tokens > longest) {
      longest = member->tokens;
      route_ = member->predicted_route;
    }
    encoder_seconds_ += member->encoder_seconds;
    AddPart(*member);
    key_ = std::min(key_, member->key);
    tokens_ += member->tokens;
    peak_bytes_ += member->peak_bytes;
    slices_ += member->slices;
    predicted_seconds_ += ToSeconds(member->predicted);
  }
  for (auto& member : members_) {
    member->times.batch_tokens = tokens_;
    member->times.batch_sequences = sequences();
  }
}

RunningJob::~RunningJob() = default;

void RunningJob::AddPart(const Sequence& member) {
  auto part = std::find_if(parts_.begin(), parts_.end(),
                           [&](const FlowPart& other) { return other.flow == member.flow; });
  if (part == parts_.end()) part = parts_.insert(parts_.end(), {.flow = member.flow});
  part->seconds += ToSeconds(member.predicted);
  part->encoder_seconds += member.encoder_seconds;
}

std::vector<FlowPart> RunningJob::LastParts() const {
  std::vector<FlowPart> parts = parts_;
  for (FlowPart& part : parts) {
    part.seconds *= last_progress_;
    part.encoder_seconds *= last_progress_;
  }
  return parts;
}

absl::Status RunningJob::Begin() {
  EncoderBatch batch;
  std::vector<OutputSpec> outputs;
  outputs.reserve(members_.size());
  for (auto& member : members_) {
    batch.Add(member->token_ids, member->route);
    outputs.push_back(member->output);
    // One that rides alone is not tried again: its ids are not needed any more.
    if (alone_) member->token_ids = {};
  }
  absl::StatusOr<std::unique_ptr<EncodeJob>> job =
      model_->encoder->Begin(std::move(batch), std::move(outputs), this);
  if (!job.ok()) return std::move(job).status();
  job_ = *std::move(job);
  return absl::OkStatus();
}

absl::StatusOr<EncodeJob::State> RunningJob::Step() {
  const Instant start = clock_.Now();
  for (auto& member : members_) {
    if (member != nullptr && member->times.first_step == Instant{}) {
      member->times.first_step = start;
    }
  }
  bytes_taken_ = 0;
  absl::StatusOr<EncodeJob::State> state = job_->Step();
  spent_seconds_ += ToSeconds(clock_.Now() - start);
  last_progress_ = 0;
  if (!state.ok()) {
    job_ = nullptr;
    return state;
  }
  const double progress = std::clamp(job_->Progress(), progress_, 1.0);
  last_progress_ = progress - std::exchange(progress_, progress);
  NoteBlocked(*state == EncodeJob::State::kBlocked);
  for (auto& member : members_) {
    if (member != nullptr && member->streamed) member->gate->OnProgress(progress_);
  }
  if (*state == EncodeJob::State::kDone) job_ = nullptr;
  return state;
}

void RunningJob::ObserveCost() const {
  model_->cost.Observe({.route = route_,
                        .sequences = sequences(),
                        .predicted_seconds = encoder_seconds_,
                        .actual_seconds = spent_seconds_});
}

void RunningJob::Unblock() {
  if (blocked_) ready_ = clock_.Now();
  blocked_ = false;
}

void RunningJob::NoteBlocked(bool blocked) {
  blocked_ = blocked;
  if (bytes_taken_ > 0 || !blocked) EndStall();
  if (blocked && stalled_since_ == kNever) stalled_since_ = clock_.Now();
}

void RunningJob::EndStall() {
  // Once the sink is ready, what the job waits for is its turn.
  if (stalled_since_ != kNever) stalled_before_ += ready_ - stalled_since_;
  stalled_since_ = kNever;
  const Nanoseconds made_good =
      FromSeconds(static_cast<double>(bytes_taken_) / kLeastBytesPerSecond);
  stalled_before_ -= std::min(stalled_before_, made_good);
}

void RunningJob::EndWhere(absl::FunctionRef<absl::Status(const Sequence&)> reason_for) {
  for (int s = 0; s < sequences(); ++s) {
    if (members_[s] == nullptr) continue;
    absl::Status reason = reason_for(*members_[s]);
    if (reason.ok()) continue;
    whole_ = false;
    if (job_ != nullptr) job_->Drop(s);
    End(s, std::move(reason));
  }
}

Sequences RunningJob::TakeActive() {
  Sequences active;
  for (auto& member : members_) {
    if (member != nullptr) active.push_back(std::move(member));
  }
  active_ = 0;
  whole_ = false;
  return active;
}

Sequences RunningJob::TakeEnded() { return std::exchange(ended_, {}); }

bool RunningJob::HasTicket(Scheduler::Ticket ticket) const {
  return std::any_of(members_.begin(), members_.end(), [ticket](const auto& member) {
    return member != nullptr && member->ticket == ticket;
  });
}

Instant RunningJob::NextDeadline() const {
  Instant next = kNever;
  for (const auto& member : members_) {
    if (member != nullptr) next = std::min(next, member->key.deadline);
  }
  return next;
}

SliceCandidate RunningJob::candidate() const {
  return {.flow = parts_.front().flow,
          .key = key_,
          .due = DueTime(NextDeadline(), FromSeconds(left_seconds() * weather_)),
          .slice_seconds = predicted_seconds_ / static_cast<double>(slices_)};
}

RowSink::Answer RunningJob::Offer(int sequence, int64_t first_row, RowBlock rows) {
  const auto& member = members_[sequence];
  if (member == nullptr) return Answer::kTaken;
  const int64_t skip = std::clamp(member->rows_taken - first_row, int64_t{0}, rows.rows);
  rows.values.remove_prefix(skip * rows.dim);
  rows.rows -= skip;
  if (rows.rows == 0) return Answer::kTaken;
  const Answer answer = member->gate->OnRows(first_row + skip, rows);
  if (answer == Answer::kTaken) {
    member->rows_taken = first_row + skip + rows.rows;
    bytes_taken_ += rows.rows * rows.dim * static_cast<int64_t>(sizeof(float));
  }
  return answer;
}

void RunningJob::Finish(int sequence, const SequenceReport& report) {
  if (members_[sequence] == nullptr) return;
  members_[sequence]->times.last_row = clock_.Now();
  End(sequence, report);
}

void RunningJob::Fail(int sequence, absl::Status status) {
  if (members_[sequence] == nullptr) return;
  whole_ = false;
  End(sequence, std::move(status));
}

void RunningJob::End(int sequence, absl::StatusOr<SequenceReport> result) {
  std::unique_ptr<Sequence> member = std::move(members_[sequence]);
  --active_;
  member->gate->End(std::move(result), member->times);
  ended_.push_back(std::move(member));
}

}  // namespace longwave
