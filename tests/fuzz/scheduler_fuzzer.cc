#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "model/api/fake_encoder.h"
#include "model/base/clock.h"
#include "model/base/error.h"
#include "server/admission/served_model.h"
#include "server/scheduling/stepped_scheduler.h"

namespace longwave {
namespace {

// Whatever this finds broken is a bug of the scheduler.
void Check(bool holds) {
  if (!holds) std::abort();
}

// Bytes as decisions; zeros once they are used up.
class Script {
 public:
  Script(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool done() const { return size_ == 0; }
  int Next(int below) {
    if (done()) return 0;
    --size_;
    return *data_++ % below;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

// The consumer of one sequence; its room for rows is what its reader gives.
class Client final : public SequenceConsumer {
 public:
  Client(std::vector<float> expected, int64_t room) : expected_(std::move(expected)), room_(room) {}

  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    Check(!ended_);
    Check(first_row * rows.dim == static_cast<int64_t>(values_.size()));
    if (rows.rows > room_) {
      refused_ = true;
      return RowSink::Answer::kRefused;
    }
    room_ -= rows.rows;
    values_.insert(values_.end(), rows.values.begin(), rows.values.end());
    return RowSink::Answer::kTaken;
  }
  void OnProgress(double fraction) override { Check(!ended_ && fraction >= 0 && fraction <= 1); }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& /*times*/) override {
    Check(!ended_);  // exactly once
    ended_ = true;
    if (result.ok()) Check(values_ == expected_);
  }

  // Makes room; true if the scheduler is to be told.
  bool Read(int64_t rows) {
    room_ += rows;
    return std::exchange(refused_, false);
  }
  bool ended() const { return ended_; }

 private:
  const std::vector<float> expected_;
  std::vector<float> values_;
  int64_t room_;
  bool refused_ = false;
  bool ended_ = false;
};

constexpr int64_t kBoundless = int64_t{1} << 40;

// Queue operations in one thread and in virtual time, as a script has them.
class World {
 public:
  explicit World(Script script) : script_(script) {
    FakeEncoderOptions fake;
    fake.info.dim = 2;
    fake.pace = FakePace::kFakeClock;
    fake.clock = &clock_;
    fake.base_seconds = 0;
    fake.seconds_per_token = 0.001;
    fake.tokens_per_slice = 1 + script_.Next(40);
    fake.bytes_per_token = 1;
    fake.rows_per_offer = 1 + script_.Next(8);
    fake.poison_id = 13;
    if (script_.Next(4) == 1) {
      constexpr FakeFault::Kind kKinds[] = {
          FakeFault::Kind::kOutOfMemory, FakeFault::Kind::kJobError, FakeFault::Kind::kDeviceLost};
      fake.faults.push_back(
          {.kind = kKinds[script_.Next(3)],
           .at = script_.Next(2) == 0 ? FakeFault::At::kBegin : FakeFault::At::kStep,
           .call = script_.Next(32)});
    }
    auto encoder = std::make_shared<FakeEncoder>(fake);
    encoder_ = encoder.get();
    model_ = std::make_shared<ServedModel>(std::move(encoder));
    SchedulerOptions options;
    options.admission.max_queue_sequences = 1 + script_.Next(20);
    options.admission.max_queue_tokens = 100 + 40 * script_.Next(256);
    options.max_batch_seconds = 0.05 * (1 + script_.Next(5));
    options.max_batch_tokens = 50 + script_.Next(256);
    options.max_batch_sequences = 1 + script_.Next(8);
    options.max_resident_bytes = 200 + 20 * script_.Next(256);
    options.max_paused_jobs = script_.Next(5);
    options.max_stall_seconds = 0.5;
    scheduler_ = std::make_unique<SteppedScheduler>(options, &clock_, nullptr);
  }

  void Run() {
    while (!script_.done()) Act();
    scheduler_->BeginDrain();
    Finish();
    const SchedulerView view = scheduler_->View();
    Check(view.queued_sequences == 0 && view.queued_tokens == 0);
    Check(view.running_sequences == 0 && view.paused_jobs == 0 && view.resident_bytes == 0);
    Check(encoder_->live_jobs() == 0);
    for (const Request& request : requests_) {
      for (const auto& client : request.clients) Check(client->ended() == request.accepted);
    }
  }

 private:
  struct Request {
    bool accepted = false;
    Scheduler::Ticket ticket = 0;
    std::vector<std::shared_ptr<Client>> clients;
  };

  void Act() {
    switch (script_.Next(8)) {
      case 0:
      case 1:
        Submit();
        break;
      case 2:
        if (!requests_.empty()) CancelOne(requests_[script_.Next(256) % requests_.size()]);
        break;
      case 3:
        Read(script_.Next(16));
        break;
      case 4:
        clock_.AdvanceSeconds(0.01 * script_.Next(256));
        break;
      default:
        scheduler_->RunOnce();
    }
  }

  void Submit() {
    Request request;
    std::vector<SequenceTask> tasks;
    const bool streamed = script_.Next(3) == 0;
    for (int i = streamed ? 1 : script_.Next(5); i > 0; --i) {
      // Of every size from one token to more than fits.
      const int64_t tokens = int64_t{1 + script_.Next(16)} << script_.Next(6);
      std::vector<int32_t> ids(tokens, script_.Next(16));
      const OutputSpec output{.pooling = streamed ? Pooling::kRows : Pooling::kMean};
      request.clients.push_back(std::make_shared<Client>(encoder_->ExpectedRows(ids, output),
                                                         streamed ? script_.Next(8) : kBoundless));
      tasks.push_back({.model = model_,
                       .token_ids = std::move(ids),
                       .output = output,
                       .streamed = streamed,
                       .consumer = request.clients.back()});
    }
    RequestTerms terms;
    terms.priority = script_.Next(2) == 0 ? Priority::kInteractive : Priority::kBatch;
    if (script_.Next(2) == 1) {
      terms.deadline = clock_.Now() + FromSeconds(0.02 * script_.Next(256) - 0.1);
    }
    if (script_.Next(2) == 1) terms.tenant = tenants_[script_.Next(2)];
    const auto ticket = scheduler_->Submit(std::move(tasks), terms);
    request.accepted = ticket.ok();
    request.ticket = ticket.value_or(0);
    requests_.push_back(std::move(request));
  }

  void CancelOne(const Request& request) {
    if (!request.accepted) return;
    scheduler_->Cancel(request.ticket, MakeError(ErrorReason::kCancelled, "the client left"));
    // Nothing runs between slices, so what was queued has ended; the rest ends at the next step.
  }

  void Read(int64_t rows) {
    for (const Request& request : requests_) {
      for (const auto& client : request.clients) {
        if (!client->ended() && client->Read(rows)) scheduler_->OnSinkReady(request.ticket);
      }
    }
  }

  // Readers read, time passes; then nothing may be left to do.
  void Finish() {
    Read(kBoundless);
    while (scheduler_->RunOnce()) Read(kBoundless);
    clock_.AdvanceSeconds(1000);
    while (scheduler_->RunOnce()) Read(kBoundless);
  }

  Script script_;
  FakeClock clock_;
  FakeEncoder* encoder_ = nullptr;
  std::shared_ptr<ServedModel> model_;
  std::unique_ptr<SteppedScheduler> scheduler_;
  std::vector<Request> requests_;
  const std::shared_ptr<const Tenant> tenants_[2] = {
      std::make_shared<Tenant>(Tenant{.name = "a", .share = 3}),
      std::make_shared<Tenant>(
          Tenant{.name = "b", .max_compute_share = 0.5, .burst_seconds = 0.3})};
};

}  // namespace
}  // namespace longwave

// Submit, Cancel, OnSinkReady, steps and time in any order: every accepted sequence ends exactly
// once with its own rows or an error, refused ones never hear anything, and nothing is held at the
// end.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longwave::World(longwave::Script(data, std::min<size_t>(size, 1024))).Run();
  return 0;
}
