#ifndef LONGWAVE_TESTS_SIMULATION_RECORDING_ENCODER_H_
#define LONGWAVE_TESTS_SIMULATION_RECORDING_ENCODER_H_

#include <memory>
#include <vector>

#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "tests/simulation/history.h"

namespace longwave {

// Passes calls on to an encoder and writes down every Begin and Step. The first id of a sequence is
// its index in the history.
class RecordingEncoder final : public Encoder {
 public:
  RecordingEncoder(Encoder* inner, const Clock* clock, History* history)
      : inner_(*inner), clock_(*clock), history_(*history) {}

  const EncoderInfo& Info() const override { return inner_.Info(); }
  absl::Status Health() const override { return inner_.Health(); }
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override {
    return inner_.Predict(tokens, output, route);
  }
  absl::Status CheckRoute(int64_t tokens, Route route) const override {
    return inner_.CheckRoute(tokens, route);
  }
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override;

  // Every slice takes this much longer from now on. `clock` is the one that Step advances.
  void SlowDown(FakeClock* clock, double seconds) {
    slow_clock_ = clock;
    slow_seconds_ = seconds;
  }

  int live_jobs() const { return live_jobs_; }
  // Sequences of live jobs that have neither ended nor been dropped.
  int64_t computed() const { return computed_; }
  int64_t computed_tokens() const { return computed_tokens_; }

 private:
  class Job;

  Encoder& inner_;
  const Clock& clock_;
  History& history_;
  FakeClock* slow_clock_ = nullptr;
  double slow_seconds_ = 0;
  int live_jobs_ = 0;
  int64_t held_bytes_ = 0;
  int64_t computed_ = 0;
  int64_t computed_tokens_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_RECORDING_ENCODER_H_
