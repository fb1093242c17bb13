#include "tests/simulation/simulated_world.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/base/error.h"
#include "server/scheduling/batch_former.h"

namespace longwave {
namespace {

constexpr int64_t kAllRows = 1'000'000;

std::vector<int32_t> IdsOf(int64_t index, int64_t tokens) {
  std::vector<int32_t> ids(tokens, 1);
  ids.front() = static_cast<int32_t>(index);
  return ids;
}

OutputSpec OutputOf(const Submission::Item& item) {
  return {.pooling = item.rows ? Pooling::kRows : Pooling::kMean};
}

}  // namespace

// The consumer of one sequence, and its reader: takes rows while there is room.
class SimulatedWorld::Client final : public SequenceConsumer {
 public:
  Client(SimulatedWorld* world, int64_t index, OutputSpec output, int64_t room)
      : world_(*world), index_(index), output_(std::move(output)), room_(room) {}

  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    SequenceHistory& record = world_.history_.sequences[index_];
    if (record.ends > 0) record.called_after_end = true;
    if (first_row * rows.dim != static_cast<int64_t>(values_.size())) in_order_ = false;
    if (record.streamed && rows.rows > room_) {
      refused_ = true;
      if (record.last_taken == kNever) record.last_taken = world_.clock_.Now();
      return RowSink::Answer::kRefused;
    }
    room_ -= rows.rows;
    values_.insert(values_.end(), rows.values.begin(), rows.values.end());
    record.last_taken = world_.clock_.Now();
    return RowSink::Answer::kTaken;
  }
  void OnProgress(double fraction) override {
    SequenceHistory& record = world_.history_.sequences[index_];
    if (record.ends > 0) record.called_after_end = true;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    SequenceHistory& record = world_.history_.sequences[index_];
    ++record.ends;
    record.ended = world_.clock_.Now();
    record.popped = times.popped;
    record.ok = result.ok();
    if (!result.ok()) record.reason = GetErrorDetails(result.status()).reason;
    record.rows_right =
        in_order_ && values_ == world_.fake_->ExpectedRows(IdsOf(index_, record.tokens), output_);
    ++(result.ok() ? world_.counts_.ok : world_.counts_.errors);
    world_.counts_.open_tokens -= record.tokens;
  }

  bool ended() const { return world_.history_.sequences[index_].ends > 0; }
  int64_t index() const { return index_; }
  bool slow() const { return index_ % 7 == 3; }
  // Makes room; true if the scheduler is to be told.
  bool Read(int64_t rows) {
    room_ += rows;
    return std::exchange(refused_, false);
  }

 private:
  SimulatedWorld& world_;
  const int64_t index_;
  const OutputSpec output_;
  int64_t room_;
  bool refused_ = false;
  bool in_order_ = true;
  std::vector<float> values_;
};

class SimulatedWorld::Recorder final : public SchedulerObserver {
 public:
  explicit Recorder(Observed* observed) : observed_(*observed) {}
  void OnBatch(int sequences, int64_t tokens) override {
    observed_.batches.push_back({.sequences = sequences, .tokens = tokens});
  }
  void OnSliceStart() override { ++observed_.slice_starts; }
  void OnSlice(double seconds) override { observed_.slices.push_back(seconds); }
  void OnJobEnd(int64_t tokens, double predicted_seconds, double actual_seconds) override {
    observed_.job_ends.push_back({.tokens = tokens, .seconds = actual_seconds});
  }

 private:
  Observed& observed_;
};

SimulatedWorld::SimulatedWorld(Schedule schedule) : schedule_(std::move(schedule)) {
  history_.options = schedule_.options;
  for (const Tenant& tenant : ScheduleTenants()) {
    tenants_.push_back(tenant.name.empty() ? nullptr : std::make_shared<Tenant>(tenant));
  }
  MakeEncoder();
  recorder_ = std::make_unique<Recorder>(&history_.observed);
  scheduler_ = std::make_unique<SteppedScheduler>(history_.options, &clock_, recorder_.get());
}

SimulatedWorld::~SimulatedWorld() = default;

void SimulatedWorld::MakeEncoder() {
  FakeEncoderOptions options;
  options.info.vocab_size = 1 << 24;
  options.info.dim = 2;
  options.pace = FakePace::kFakeClock;
  options.clock = &clock_;
  options.base_seconds = 0;
  options.seconds_per_token = kSecondsPerToken;
  options.time_factor = schedule_.time_factor;
  options.tokens_per_slice = kTokensPerSlice;
  options.bytes_per_token = 1;
  options.rows_per_offer = schedule_.rows_per_offer;
  options.out_of_memory_above_tokens = schedule_.out_of_memory_above_tokens;
  options.faults = schedule_.faults;
  history_.device_may_fail = !options.faults.empty() || options.out_of_memory_above_tokens > 0;
  history_.predictions_hold =
      options.time_factor == 1 &&
      std::none_of(schedule_.actions.begin(), schedule_.actions.end(),
                   [](const Action& action) { return action.kind == Action::Kind::kSlow; });
  fake_ = std::make_unique<FakeEncoder>(std::move(options));
  encoder_ = std::make_shared<RecordingEncoder>(fake_.get(), &clock_, &history_);
  model_ = std::make_shared<ServedModel>(encoder_);
}

History SimulatedWorld::Run() {
  for (const Action& action : schedule_.actions) {
    Act(action);
    NoteMoment();
  }
  if (history_.drain_began == kNever) BeginDrain();
  if (history_.abandoned == kNever) LetReadersRead(kAllRows, /*all=*/true);
  while (Round()) {
    NoteMoment();
    LetReadersRead(kAllRows, /*all=*/true);
  }
  NoteMoment();
  history_.last_view = scheduler_->View();
  history_.live_jobs_at_end = fake_->live_jobs();
  return std::move(history_);
}

void SimulatedWorld::Act(const Action& action) {
  switch (action.kind) {
    case Action::Kind::kSubmit:
      Submit(action.submission);
      break;
    case Action::Kind::kCancel:
      CancelOne(action.number);
      break;
    case Action::Kind::kRead:
      LetReadersRead(action.number, /*all=*/false);
      break;
    case Action::Kind::kAdvance:
      clock_.AdvanceSeconds(action.seconds);
      break;
    case Action::Kind::kSlow:
      encoder_->SlowDown(&clock_, action.seconds);
      break;
    case Action::Kind::kRound:
      if (!Round()) clock_.AdvanceSeconds(action.seconds);
      break;
    case Action::Kind::kDrain:
      BeginDrain();
      break;
    case Action::Kind::kAbandon:
      Abandon();
      break;
  }
}

SequenceHistory SimulatedWorld::RecordOf(const Submission& submission,
                                         const Submission::Item& item) const {
  SequenceHistory record{.request = static_cast<int64_t>(requests_.size()),
                         .priority = submission.priority,
                         .tokens = item.tokens,
                         .streamed = submission.streamed,
                         .tenant = submission.tenant,
                         .submitted = clock_.Now()};
  for (const Tenant& tenant : ScheduleTenants()) {
    if (tenant.name != submission.tenant) continue;
    record.share = tenant.share;
    record.has_quota = !std::isinf(tenant.max_compute_share);
  }
  if (submission.deadline > kNoDeadline) {
    record.deadline = clock_.Now() + FromSeconds(submission.deadline);
  }
  CostPrediction cost = encoder_->Predict(item.tokens, OutputOf(item), Route::kAuto);
  const CostEstimate estimate = model_->cost.Estimate(cost);
  record.predicted_seconds = estimate.seconds;
  record.predicted_shared_seconds = estimate.shared_seconds;
  record.peak_bytes = cost.peak_bytes;
  cost.seconds = estimate.seconds;
  record.alone = RidesAlone(cost, item.tokens, submission.streamed, history_.options);
  return record;
}

void SimulatedWorld::Submit(const Submission& submission) {
  RequestTerms terms{.priority = submission.priority, .reply_bytes = submission.reply_bytes};
  for (const auto& tenant : tenants_) {
    if (tenant != nullptr && tenant->name == submission.tenant) terms.tenant = tenant;
  }
  OpenRequest open;
  std::vector<SequenceTask> tasks;
  const size_t first = history_.sequences.size();
  int64_t tokens = 0;
  for (const Submission::Item& item : submission.items) {
    const auto index = static_cast<int64_t>(history_.sequences.size());
    history_.sequences.push_back(RecordOf(submission, item));
    terms.deadline = history_.sequences.back().deadline;
    open.clients.push_back(std::make_shared<Client>(this, index, OutputOf(item), submission.room));
    tasks.push_back({.model = model_,
                     .token_ids = IdsOf(index, item.tokens),
                     .output = OutputOf(item),
                     .streamed = submission.streamed,
                     .consumer = open.clients.back()});
    tokens += item.tokens;
  }
  const auto ticket = scheduler_->Submit(std::move(tasks), terms);
  for (size_t s = first; s < history_.sequences.size(); ++s) {
    SequenceHistory& record = history_.sequences[s];
    record.request_bytes = submission.reply_bytes + 4 * tokens;
    record.accepted = ticket.ok();
    if (!ticket.ok()) record.refusal = GetErrorDetails(ticket.status()).reason;
  }
  if (ticket.ok()) {
    counts_.accepted += static_cast<int64_t>(submission.items.size());
    counts_.open_tokens += tokens;
  }
  open.ticket = ticket.value_or(0);
  requests_.push_back(std::move(open));
}

void SimulatedWorld::CancelOne(int64_t number) {
  if (number >= static_cast<int64_t>(requests_.size())) return;
  const OpenRequest& request = requests_[number];
  if (request.ticket == 0) return;
  for (const auto& client : request.clients) {
    SequenceHistory& record = history_.sequences[client->index()];
    if (record.ends == 0) record.cancelled = std::min(record.cancelled, clock_.Now());
  }
  scheduler_->Cancel(request.ticket, MakeError(ErrorReason::kCancelled, "the client left"));
}

void SimulatedWorld::LetReadersRead(int64_t rows, bool all) {
  for (const OpenRequest& request : requests_) {
    for (const auto& client : request.clients) {
      if (client->ended() || (client->slow() && !all)) continue;
      if (client->Read(rows)) scheduler_->OnSinkReady(request.ticket);
    }
  }
}

bool SimulatedWorld::Round() {
  RoundHistory round{.began = clock_.Now()};
  round.ran = scheduler_->RunOnce();
  round.view = scheduler_->View();
  round.live_jobs = encoder_->live_jobs();
  history_.rounds.push_back(round);
  counts_.abandoned = false;
  return round.ran;
}

void SimulatedWorld::BeginDrain() {
  clock_.Advance(Nanoseconds(1));  // what was submitted before is before
  scheduler_->BeginDrain();
  if (history_.drain_began == kNever) history_.drain_began = clock_.Now();
}

void SimulatedWorld::Abandon() {
  clock_.Advance(Nanoseconds(1));
  if (history_.abandoned == kNever) history_.abandoned = clock_.Now();
  counts_.abandoned = !scheduler_->AwaitIdle(Instant::min());
}

void SimulatedWorld::NoteMoment() {
  Moment moment = counts_;
  moment.computed = encoder_->computed();
  moment.computed_tokens = encoder_->computed_tokens();
  moment.view = scheduler_->View();
  history_.moments.push_back(moment);
}

}  // namespace longwave
