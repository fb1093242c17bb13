#ifndef LONGWAVE_SERVER_SCHEDULING_BATCH_FORMER_H_
#define LONGWAVE_SERVER_SCHEDULING_BATCH_FORMER_H_

#include <cstdint>

#include "model/base/clock.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// What the batch former sees of a sequence that waits.
struct WaitingShape {
  int64_t tokens = 0;
  Nanoseconds predicted{0};
  int64_t peak_bytes = 0;
  bool alone = false;
  // To its deadline, in seconds of usual weather.
  Nanoseconds left = Nanoseconds::max();
};

// Memory that a new job may take, in bytes; negative: none may start. Jobs of one long sequence
// and batches of short ones have an account each, see HeldJobs.
struct StartRoom {
  int64_t long_bytes = 0;
  int64_t batch_bytes = 0;
  // As long_bytes, for the long sequence that memory is kept for: SequenceQueue::Impatient.
  int64_t impatient_bytes = 0;
};

// The started jobs.
struct HeldJobs {
  int jobs = 0;
  int batches = 0;            // of `jobs`, those of short sequences
  int64_t bytes = 0;          // predicted peaks
  int64_t long_bytes = 0;     // of `bytes`, those of long sequences
  int64_t blocked_bytes = 0;  // of `long_bytes`, those of jobs that wait for their readers
};

// The largest peak of a sequence that may have mates, and of a batch: a share of the memory that
// long jobs leave free, so that short sequences need not wait for the end of a long one.
int64_t BatchShareBytes(const SchedulerOptions& options);

// Whether a sequence of this prediction takes no mates.
bool RidesAlone(const CostPrediction& cost, int64_t tokens, bool streamed,
                const SchedulerOptions& options);

// `impatient_peak`: of the long sequence that has been passed too often; 0: there is none. Until it
// has started no other long one may. Unless it has to wait for readers: who knows how long.
StartRoom RoomFor(const HeldJobs& held, const SchedulerOptions& options, int64_t impatient_peak);

// Chooses the members of one batch, from sequences shown to it in the order in which they are to be
// served. A pure policy without a clock: what is there and fits is taken at once. What fits ends
// well before the first deadline of the batch, since all of a batch end together.
class BatchFormer {
 public:
  enum class Verdict {
    kTake,
    kPass,  // stays; show the next
    kFull,  // stays; nothing more will be taken
  };

  BatchFormer(const SchedulerOptions& options, const StartRoom& room);

  Verdict Consider(const WaitingShape& shape);

 private:
  Verdict ConsiderFirst(const WaitingShape& shape);
  bool Fits(const WaitingShape& shape) const;
  void Add(const WaitingShape& shape);

  const SchedulerOptions& options_;
  const StartRoom room_;
  const Nanoseconds max_predicted_;
  int sequences_ = 0;
  int64_t tokens_ = 0;
  Nanoseconds predicted_{0};
  Nanoseconds left_ = Nanoseconds::max();  // the least of the members'
  int64_t bytes_ = 0;
  int passes_ = 0;           // since the first was taken
  bool long_waits_ = false;  // a long sequence was passed over for memory
  bool full_ = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_BATCH_FORMER_H_
