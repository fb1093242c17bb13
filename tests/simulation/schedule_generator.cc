#include "tests/simulation/schedule_generator.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

namespace longwave {
namespace {

// What a schedule is drawn from.
class Chance {
 public:
  virtual ~Chance() = default;
  virtual uint32_t Below(uint32_t limit) = 0;
  // Nothing is left to draw: the schedule is to end.
  virtual bool Exhausted() const { return false; }
  bool OneIn(uint32_t times) { return Below(times) == 0; }
};

class RandomChance final : public Chance {
 public:
  explicit RandomChance(uint32_t seed) : random_(seed) {}
  uint32_t Below(uint32_t limit) override { return random_() % limit; }

 private:
  std::mt19937 random_;
};

class ByteChance final : public Chance {
 public:
  ByteChance(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint32_t Below(uint32_t limit) override {
    uint32_t drawn = Byte();
    if (limit > 256) drawn = drawn << 8 | Byte();
    return drawn % limit;
  }
  bool Exhausted() const override { return size_ == 0; }

 private:
  uint32_t Byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }

  const uint8_t* data_;
  size_t size_;
};

// Seconds are whole milliseconds, so that their text is exact.
double Milliseconds(int64_t count) { return static_cast<double>(count) / 1000; }

class Generator {
 public:
  explicit Generator(Chance* chance) : chance_(*chance) {}

  Schedule Generate() {
    DrawOptions();
    has_tenants_ = !OneIn(2);
    DrawEncoder();
    const bool abandons = OneIn(4);
    int64_t submissions = 5 + Below(40);
    while (submissions > 0 && !chance_.Exhausted()) {
      if (DrawAction()) --submissions;
    }
    for (uint32_t i = Below(60); i > 0 && !chance_.Exhausted(); --i) DrawAction();
    Add({.kind = Action::Kind::kDrain});
    DrawSubmission();
    if (abandons) {
      for (uint32_t i = Below(20); i > 0; --i) Add({.kind = Action::Kind::kRound});
      Add({.kind = Action::Kind::kAbandon});
    }
    return std::move(schedule_);
  }

 private:
  uint32_t Below(uint32_t limit) { return chance_.Below(limit); }
  bool OneIn(uint32_t times) { return chance_.OneIn(times); }
  void Add(Action action) { schedule_.actions.push_back(std::move(action)); }

  void DrawOptions() {
    SchedulerOptions& options = schedule_.options;
    AdmissionLimits& limits = options.admission;
    limits.max_queue_sequences = 3 + Below(40);
    limits.max_queue_tokens = 2000 + Below(8000);
    limits.max_wait_seconds = OneIn(2) ? 100 : Milliseconds(100 + 100 * Below(20));
    limits.max_batch_class_wait_seconds = OneIn(2) ? 100 : Milliseconds(100 + 100 * Below(60));
    limits.max_host_bytes = OneIn(2) ? 1 << 20 : 400 + Below(8000);
    limits.max_job_seconds = OneIn(4) ? Milliseconds(200 + 100 * Below(10)) : 0;
    options.max_batch_seconds = Milliseconds(50 + 50 * Below(5));
    options.max_batch_tokens = 50 + Below(400);
    options.max_batch_sequences = 1 + static_cast<int>(Below(8));
    options.max_resident_bytes = 2000 + Below(6000);
    options.max_paused_jobs = static_cast<int>(Below(5));
    options.max_stall_seconds = Milliseconds(500 + 100 * Below(20));
  }

  void DrawEncoder() {
    predictions_hold_ = OneIn(2);
    schedule_.time_factor = predictions_hold_ ? 1 : Milliseconds(300 + 300 * Below(10));
    schedule_.rows_per_offer = 1 + Below(10);
    if (!OneIn(2)) return;
    using Kind = FakeFault::Kind;
    constexpr Kind kKinds[] = {Kind::kOutOfMemory, Kind::kJobError, Kind::kNonFiniteRow};
    for (uint32_t i = Below(6); i > 0; --i) {
      schedule_.faults.push_back({.kind = kKinds[Below(3)],
                                  .at = OneIn(4) ? FakeFault::At::kBegin : FakeFault::At::kStep,
                                  .call = Below(60),
                                  .sequence = static_cast<int>(Below(3))});
    }
    if (OneIn(3)) schedule_.out_of_memory_above_tokens = 40 + Below(300);
    if (OneIn(8)) schedule_.faults.push_back({.kind = Kind::kDeviceLost, .call = Below(200)});
  }

  // True if it was a submission.
  bool DrawAction() {
    switch (Below(8)) {
      case 0:
        DrawSubmission();
        return true;
      case 1:
        if (submitted_ > 0 && OneIn(3)) {
          Add({.kind = Action::Kind::kCancel, .number = Below(submitted_)});
        }
        return false;
      case 2:
        Add({.kind = Action::Kind::kRead, .number = Below(80)});
        return false;
      case 3:
        if (OneIn(4)) Add({.kind = Action::Kind::kAdvance, .seconds = SomeTime()});
        if (!predictions_hold_ && OneIn(20)) {  // up to five times slower
          Add({.kind = Action::Kind::kSlow, .seconds = Milliseconds(20 * Below(5))});
        }
        return false;
      default:
        Add({.kind = Action::Kind::kRound, .seconds = OneIn(2) ? SomeTime() : 0});
        return false;
    }
  }

  void DrawSubmission() {
    Submission submission;
    submission.priority = OneIn(3) ? Priority::kBatch : Priority::kInteractive;
    if (has_tenants_) {
      const std::vector<Tenant>& tenants = ScheduleTenants();
      submission.tenant = tenants[Below(static_cast<uint32_t>(tenants.size()))].name;
    }
    submission.deadline =
        OneIn(3) ? Milliseconds(static_cast<int64_t>(Below(3000)) - 50) : kNoDeadline;
    submission.reply_bytes = 4 * Below(100);
    submission.streamed = OneIn(4);
    submission.room = submission.streamed ? Below(40) : 0;
    for (uint32_t i = submission.streamed || OneIn(2) ? 1 : 1 + Below(6); i > 0; --i) {
      submission.items.push_back({.tokens = SomeLength(), .rows = submission.streamed || OneIn(3)});
    }
    ++submitted_;
    Add({.kind = Action::Kind::kSubmit, .submission = std::move(submission)});
  }

  double SomeTime() { return Milliseconds(10 * (1 + Below(40))); }

  int64_t SomeLength() {
    if (OneIn(3)) return 30;  // many alike, so that their order shows
    const double magnitude = 3.0 * Below(1000) / 1000;
    return std::max<int64_t>(1, static_cast<int64_t>(std::pow(10, magnitude) * 1.5));
  }

  Chance& chance_;
  Schedule schedule_;
  bool has_tenants_ = false;
  bool predictions_hold_ = true;
  uint32_t submitted_ = 0;
};

}  // namespace

Schedule RandomSchedule(uint32_t seed) {
  RandomChance chance(seed);
  return Generator(&chance).Generate();
}

Schedule ScheduleFromBytes(const uint8_t* data, size_t size) {
  ByteChance chance(data, size);
  return Generator(&chance).Generate();
}

}  // namespace longwave
