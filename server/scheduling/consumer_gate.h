#ifndef LONGWAVE_SERVER_SCHEDULING_CONSUMER_GATE_H_
#define LONGWAVE_SERVER_SCHEDULING_CONSUMER_GATE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// Stands between one consumer and the threads that may call it: whoever ends the sequence first
// ends it, and nothing reaches the consumer after OnEnd. Calls go out without a lock held.
class ConsumerGate {
 public:
  explicit ConsumerGate(std::shared_ptr<SequenceConsumer> consumer);
  ConsumerGate(const ConsumerGate&) = delete;
  ConsumerGate& operator=(const ConsumerGate&) = delete;

  // For the executor's thread. After the end rows are taken and go nowhere.
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows);
  void OnProgress(double fraction);

  // Any thread; waits for a call above that is under way, so it must not be called from within one.
  // Returns false, without a call, if the sequence had ended.
  bool End(absl::StatusOr<SequenceReport> result, const SequenceTimes& times);

 private:
  // The consumer, for one call; null after the end.
  SequenceConsumer* Enter();
  void Leave();

  Mutex mutex_;
  CondVar left_;
  bool entered_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<SequenceConsumer> consumer_ ABSL_GUARDED_BY(mutex_);  // null after the end
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_CONSUMER_GATE_H_
