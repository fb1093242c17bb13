#ifndef LONGWAVE_SERVER_SCHEDULING_PRICER_H_
#define LONGWAVE_SERVER_SCHEDULING_PRICER_H_

#include "absl/status/status.h"
#include "server/scheduling/request_book.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// Adds up what a request would take, sequence by sequence.
class Pricer {
 public:
  struct Item {
    CostPrediction cost;    // the encoder's
    Nanoseconds shared{0};  // by the cost model: its part of a batch
    bool alone = false;     // rides alone
  };

  // Both outlive this.
  Pricer(const ServedModel& model, const SchedulerOptions& options);

  Item Add(const SequenceWork& shape);

  const RequestPrice& price() const { return price_; }
  // Without wait and verdict.
  Forecast forecast() const;
  // MEMORY_FULL if a sequence can never run here.
  absl::Status CheckMemory() const;

 private:
  const ServedModel& model_;
  const SchedulerOptions& options_;
  RequestPrice price_;
  Forecast forecast_;
  double most_alone_ = 0;       // what the dearest sequence costs more alone than in a batch
  int64_t largest_tokens_ = 0;  // of the sequence with the largest peak
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_PRICER_H_
