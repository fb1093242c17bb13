#include "server/scheduling/batch_former.h"

#include <algorithm>

namespace longwave {
namespace {

constexpr int64_t kBatchShare = 8;  // of the memory, 1/8
// How many sequences that do not fit are looked at before the batch goes as it is.
constexpr int kMaxPasses = 256;

// Whether a sequence of this peak has room once all jobs that do not wait for readers have ended.
bool MayComeToFit(int64_t peak_bytes, const HeldJobs& held, const SchedulerOptions& options) {
  if (held.blocked_bytes == 0) return true;
  return peak_bytes <= options.max_resident_bytes - BatchShareBytes(options) - held.blocked_bytes;
}

}  // namespace

int64_t BatchShareBytes(const SchedulerOptions& options) {
  return options.max_resident_bytes / kBatchShare;
}

bool RidesAlone(const CostPrediction& cost, int64_t tokens, bool streamed,
                const SchedulerOptions& options) {
  return streamed || cost.seconds > options.max_batch_seconds ||
         tokens > options.max_batch_tokens || cost.peak_bytes > BatchShareBytes(options);
}

StartRoom RoomFor(const HeldJobs& held, const SchedulerOptions& options, int64_t impatient_peak) {
  const int64_t share = BatchShareBytes(options);
  StartRoom room;
  if (held.jobs == 0) {
    room.long_bytes = options.max_resident_bytes;  // one job always runs
  } else if (held.jobs < options.max_paused_jobs) {
    room.long_bytes = options.max_resident_bytes - share - held.long_bytes;
  } else {
    room.long_bytes = -1;  // one place is kept for a batch
  }
  if (held.jobs > options.max_paused_jobs) {
    room.batch_bytes = -1;
  } else {
    room.batch_bytes = options.max_resident_bytes - held.bytes;
    if (held.batches == 0) room.batch_bytes = std::max(room.batch_bytes, share);
  }
  room.impatient_bytes = room.long_bytes;
  if (impatient_peak > 0 && MayComeToFit(impatient_peak, held, options)) room.long_bytes = -1;
  return room;
}

BatchFormer::BatchFormer(const SchedulerOptions& options, const StartRoom& room)
    : options_(options), room_(room), max_predicted_(FromSeconds(options.max_batch_seconds)) {}

BatchFormer::Verdict BatchFormer::Consider(const WaitingShape& shape) {
  if (sequences_ == 0) return ConsiderFirst(shape);
  if (full_ || sequences_ == options_.max_batch_sequences || passes_ == kMaxPasses) {
    return Verdict::kFull;
  }
  if (shape.alone || !Fits(shape)) {
    ++passes_;
    return Verdict::kPass;
  }
  Add(shape);
  return Verdict::kTake;
}

BatchFormer::Verdict BatchFormer::ConsiderFirst(const WaitingShape& shape) {
  if (!shape.alone) {
    if (shape.peak_bytes > room_.batch_bytes) return Verdict::kPass;
    Add(shape);
    return Verdict::kTake;
  }
  // Were a later long one let through, one that needs much memory might wait for ever. Batches may
  // pass it: they end soon and give back what they held.
  if (long_waits_ || shape.peak_bytes > room_.long_bytes) {
    long_waits_ = true;
    return Verdict::kPass;
  }
  Add(shape);
  full_ = true;
  return Verdict::kTake;
}

bool BatchFormer::Fits(const WaitingShape& shape) const {
  const int64_t max_bytes = std::min(room_.batch_bytes, BatchShareBytes(options_));
  const Nanoseconds most = std::min(max_predicted_, std::min(left_, shape.left) / 5 * 4);
  return tokens_ + shape.tokens <= options_.max_batch_tokens &&
         predicted_ + shape.predicted <= most && bytes_ + shape.peak_bytes <= max_bytes;
}

void BatchFormer::Add(const WaitingShape& shape) {
  ++sequences_;
  tokens_ += shape.tokens;
  predicted_ += shape.predicted;
  left_ = std::min(left_, shape.left);
  bytes_ += shape.peak_bytes;
}

}  // namespace longwave
