#include "tests/simulation/simulated_world.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/base/error.h"

namespace longwave {
namespace {

constexpr double kSecondsPerToken = 0.001;
constexpr int64_t kTokensPerSlice = 20;

std::vector<int32_t> IdsOf(int64_t index, int64_t tokens) {
  std::vector<int32_t> ids(tokens, 1);
  ids.front() = static_cast<int32_t>(index);
  return ids;
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
  }

  bool ended() const { return world_.history_.sequences[index_].ends > 0; }
  int64_t index() const { return index_; }
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

class SimulatedWorld::Counter final : public SchedulerObserver {
 public:
  explicit Counter(History* history) : history_(*history) {}
  void OnBatch(int sequences, int64_t tokens) override { ++history_.batches_observed; }
  void OnSlice(double seconds) override { ++history_.slices_observed; }

 private:
  History& history_;
};

SimulatedWorld::SimulatedWorld(uint32_t seed) : random_(seed) {
  MakeOptions();
  MakeTenants();
  MakeEncoder();
  counter_ = std::make_unique<Counter>(&history_);
  scheduler_ = std::make_unique<SteppedScheduler>(history_.options, &clock_, counter_.get());
  submissions_left_ = 5 + Below(40);
}

SimulatedWorld::~SimulatedWorld() = default;

void SimulatedWorld::MakeOptions() {
  SchedulerOptions& options = history_.options;
  options.admission.max_queue_sequences = 3 + Below(40);
  options.admission.max_queue_tokens = 2000 + Below(8000);
  options.max_batch_seconds = 0.05 * (1 + Below(5));
  options.max_batch_tokens = 50 + Below(400);
  options.max_batch_sequences = 1 + static_cast<int>(Below(8));
  options.max_resident_bytes = 2000 + Below(6000);
  options.max_paused_jobs = static_cast<int>(Below(5));
  options.max_stall_seconds = 0.5 + 0.1 * Below(20);
}

void SimulatedWorld::MakeTenants() {
  AdmissionLimits& limits = history_.options.admission;
  limits.max_wait_seconds = Chance(2) ? 100 : 0.1 * (1 + Below(20));
  limits.max_batch_class_wait_seconds = Chance(2) ? 100 : 0.1 * (1 + Below(60));
  limits.max_host_bytes = Chance(2) ? 1 << 20 : 400 + Below(8000);
  limits.max_job_seconds = Chance(4) ? 0.2 + 0.1 * Below(10) : 0;
  tenants_ = {nullptr};
  if (Chance(2)) return;
  tenants_.push_back(std::make_shared<Tenant>(Tenant{.name = "large", .share = 3}));
  tenants_.push_back(std::make_shared<Tenant>(
      Tenant{.name = "limited", .max_compute_share = 0.2, .burst_seconds = 0.1}));
}

void SimulatedWorld::MakeEncoder() {
  FakeEncoderOptions options;
  options.info.vocab_size = 1 << 24;
  options.info.dim = 2;
  options.pace = FakePace::kFakeClock;
  options.clock = &clock_;
  options.base_seconds = 0;
  options.seconds_per_token = kSecondsPerToken;
  history_.predictions_hold = Chance(2);
  options.time_factor = history_.predictions_hold ? 1 : 0.3 + 0.3 * Below(10);
  options.tokens_per_slice = kTokensPerSlice;
  options.bytes_per_token = 1;
  options.rows_per_offer = 1 + Below(10);
  history_.device_may_fail = Chance(2);
  if (history_.device_may_fail) {
    using Kind = FakeFault::Kind;
    const std::vector<Kind> kinds = {Kind::kOutOfMemory, Kind::kJobError, Kind::kNonFiniteRow};
    for (uint32_t i = Below(6); i > 0; --i) {
      options.faults.push_back({.kind = kinds[Below(3)],
                                .at = Chance(4) ? FakeFault::At::kBegin : FakeFault::At::kStep,
                                .call = Below(60),
                                .sequence = static_cast<int>(Below(3))});
    }
    if (Chance(3)) options.out_of_memory_above_tokens = 40 + Below(300);
    if (Chance(8)) options.faults.push_back({.kind = Kind::kDeviceLost, .call = Below(200)});
  }
  fake_ = std::make_unique<FakeEncoder>(std::move(options));
  encoder_ = std::make_shared<RecordingEncoder>(fake_.get(), &clock_, &history_);
  model_ = std::make_shared<ServedModel>(encoder_);
}

History SimulatedWorld::Run() {
  while (submissions_left_ > 0) Act();
  for (uint32_t i = Below(60); i > 0; --i) Act();
  Drain();
  history_.last_view = scheduler_->View();
  history_.live_jobs_at_end = fake_->live_jobs();
  return std::move(history_);
}

void SimulatedWorld::Act() {
  switch (Below(8)) {
    case 0:
      Submit();
      break;
    case 1:
      if (Chance(3)) CancelOne();
      break;
    case 2:
      LetReadersRead();
      break;
    case 3:
      if (Chance(4)) Advance();
      if (!history_.predictions_hold && Chance(20))
        encoder_->SlowDown(&clock_, 0.02 * Below(5));  // up to five times slower
      break;
    default:
      if (!Round() && Chance(2)) Advance();
      break;
  }
}

int64_t SimulatedWorld::RandomLength() {
  if (Chance(3)) return 30;  // many alike, so that their order shows
  const double magnitude = 3.0 * Below(1000) / 1000;
  return std::max<int64_t>(1, static_cast<int64_t>(std::pow(10, magnitude) * 1.5));
}

void SimulatedWorld::Submit() {
  --submissions_left_;
  const bool streamed = Chance(4);
  const auto request = static_cast<int64_t>(requests_.size());
  const Priority priority = Chance(3) ? Priority::kBatch : Priority::kInteractive;
  const Instant deadline =
      Chance(3) ? clock_.Now() + FromSeconds(0.001 * Below(3000) - 0.05) : kNever;
  const std::shared_ptr<const Tenant>& tenant = tenants_[Below(tenants_.size())];
  RequestTerms terms{.priority = priority, .deadline = deadline, .tenant = tenant};
  terms.reply_bytes = 4 * Below(100);
  int64_t request_bytes = terms.reply_bytes;
  OpenRequest open;
  std::vector<SequenceTask> tasks;
  const size_t first = history_.sequences.size();
  for (uint32_t i = streamed || Chance(2) ? 1 : 1 + Below(6); i > 0; --i) {
    const auto index = static_cast<int64_t>(history_.sequences.size());
    const int64_t tokens = RandomLength();
    history_.sequences.push_back({.request = request,
                                  .priority = priority,
                                  .tokens = tokens,
                                  .streamed = streamed,
                                  .tenant = tenant == nullptr ? "" : tenant->name,
                                  .has_quota = tenant != nullptr && tenant->name == "limited",
                                  .submitted = clock_.Now(),
                                  .deadline = deadline});
    const OutputSpec output{.pooling = streamed || Chance(3) ? Pooling::kRows : Pooling::kMean};
    open.clients.push_back(std::make_shared<Client>(this, index, output, Below(40)));
    tasks.push_back({.model = model_,
                     .token_ids = IdsOf(index, tokens),
                     .output = output,
                     .streamed = streamed,
                     .consumer = open.clients.back()});
  }
  const auto ticket = scheduler_->Submit(std::move(tasks), terms);
  for (size_t s = first; s < history_.sequences.size(); ++s) {
    request_bytes += 4 * history_.sequences[s].tokens;
  }
  for (size_t s = first; s < history_.sequences.size(); ++s) {
    SequenceHistory& record = history_.sequences[s];
    record.request_bytes = request_bytes;
    record.accepted = ticket.ok();
    if (!ticket.ok()) record.refusal = GetErrorDetails(ticket.status()).reason;
  }
  open.ticket = ticket.value_or(0);
  requests_.push_back(std::move(open));
}

void SimulatedWorld::CancelOne() {
  if (requests_.empty()) return;
  const OpenRequest& request = requests_[Below(requests_.size())];
  if (request.ticket == 0) return;
  for (const auto& client : request.clients) {
    SequenceHistory& record = history_.sequences[client->index()];
    if (record.ends == 0) record.cancelled = std::min(record.cancelled, clock_.Now());
  }
  scheduler_->Cancel(request.ticket, MakeError(ErrorReason::kCancelled, "the client left"));
}

void SimulatedWorld::LetReadersRead() {
  for (const OpenRequest& request : requests_) {
    for (const auto& client : request.clients) {
      const bool slow = client->index() % 7 == 3 && !readers_rest_;
      if (client->ended() || slow) continue;
      const int64_t rows = readers_rest_ ? 1'000'000 : Below(80);
      if (client->Read(rows)) scheduler_->OnSinkReady(request.ticket);
    }
  }
}

void SimulatedWorld::Advance() { clock_.AdvanceSeconds(0.01 * (1 + Below(40))); }

bool SimulatedWorld::Round() {
  RoundHistory round{.began = clock_.Now(), .steps_before = history_.steps.size()};
  round.ran = scheduler_->RunOnce();
  round.view = scheduler_->View();
  round.live_jobs = encoder_->live_jobs();
  history_.rounds.push_back(round);
  return round.ran;
}

void SimulatedWorld::Drain() {
  clock_.Advance(Nanoseconds(1));  // what was submitted before is before
  scheduler_->BeginDrain();
  history_.drain_began = clock_.Now();
  Submit();
  clock_.Advance(Nanoseconds(1));
  if (Chance(4)) {
    for (uint32_t i = Below(20); i > 0; --i) Round();
    history_.abandoned = clock_.Now();
    scheduler_->AwaitIdle(Instant::min());
  } else {
    readers_rest_ = true;
    LetReadersRead();
  }
  while (Round()) LetReadersRead();
}

}  // namespace longwave
