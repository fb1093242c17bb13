#ifndef LONGWAVE_MODEL_API_FAKE_ENCODER_H_
#define LONGWAVE_MODEL_API_FAKE_ENCODER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/mutex.h"

namespace longwave {

// Something that goes wrong at the `call`-th Begin or Step of the encoder, counted from 0 over all
// its jobs.
struct FakeFault {
  enum class Kind {
    kOutOfMemory,   // the call fails with OUT_OF_MEMORY
    kJobError,      // the call fails with INTERNAL
    kDeviceLost,    // the call fails with DEVICE_LOST, and so does every later one
    kNonFiniteRow,  // Step only: `sequence` of that job ends with NON_FINITE
    kHang,          // Step only: the call waits for FakeEncoder::Release
  };
  enum class At { kBegin, kStep };

  Kind kind = Kind::kJobError;
  At at = At::kStep;
  int64_t call = 0;
  int sequence = 0;
};

// What a slice does with the time that it is scripted to take.
enum class FakePace {
  kInstant,    // nothing
  kFakeClock,  // advances FakeEncoderOptions::clock
  kSleep,      // sleeps: the compute of an accelerator, which leaves the processor free
  kBusy,       // spins
};

// A model "fake" of 16 dims, 2 layers, 1000 ids and 2^20 tokens that declares every route but
// interpolation.
EncoderInfo FakeEncoderInfo();

struct FakeEncoderOptions {
  EncoderInfo info = FakeEncoderInfo();
  FakePace pace = FakePace::kInstant;
  FakeClock* clock = nullptr;  // kFakeClock; outlives the encoder
  // A job is predicted to take base_seconds, in its first slice, + seconds_per_token * tokens.
  double base_seconds = 1e-3;
  double seconds_per_token = 1e-6;
  double time_factor = 1;  // time taken / time predicted
  int64_t tokens_per_slice = 1024;
  int64_t bytes_per_token = 64;
  int64_t rows_per_offer = 256;
  uint64_t row_seed = 0;  // encoders that differ in it answer the same ids with other rows
  // A job of more tokens fails with OUT_OF_MEMORY at its first Step; 0 = never.
  int64_t out_of_memory_above_tokens = 0;
  // A sequence that holds this id ends with NON_FINITE; -1 = none does.
  int32_t poison_id = -1;
  std::vector<FakeFault> faults;
};

// Output of FakeEncoder for one sequence: [RowCount, row dim], row-major. A token's row depends on
// all ids and on its position alone, whichever selection it is part of, so every reply shows
// whether it belongs to its request. kFirst and kLast are the rows of those tokens.
std::vector<float> ExpectedFakeRows(const EncoderInfo& info, absl::Span<const int32_t> ids,
                                    const OutputSpec& output, uint64_t row_seed = 0);

// An encoder without mathematics, for tests and simulations: scripted time and faults, and output
// that checks itself. Token rows become available as the tokens are passed, other rows at the end
// of their sequence. Sequences of a job are computed one after another. Thread-safe as Encoder is.
class FakeEncoder : public Encoder {
 public:
  explicit FakeEncoder(FakeEncoderOptions options = {});
  ~FakeEncoder() override;

  const EncoderInfo& Info() const override { return options_.info; }
  absl::Status Health() const override;
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override;
  absl::Status CheckRoute(int64_t tokens, Route route) const override;
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override;

  std::vector<float> ExpectedRows(absl::Span<const int32_t> ids, const OutputSpec& output) const {
    return ExpectedFakeRows(options_.info, ids, output, options_.row_seed);
  }

  // Adds a fault to the script. A call number that has passed never comes.
  void AddFault(FakeFault fault);
  // Waits until a Step hangs (kHang).
  void AwaitHang();
  // Lets every Step that hangs, now or later, go on.
  void Release();

  int64_t begin_calls() const;
  int64_t step_calls() const;
  int64_t live_jobs() const;

 private:
  class Job;

  // Counts a call and returns the fault that the script has for it.
  std::optional<FakeFault> NextFault(FakeFault::At at);
  // The status of a fault that fails its call; OK for the others. kHang waits here.
  absl::Status Strike(const FakeFault& fault);
  void Spend(double seconds) const;
  void AddLiveJobs(int64_t change);

  const FakeEncoderOptions options_;
  mutable Mutex mutex_;
  CondVar hang_changed_;
  std::vector<FakeFault> faults_ ABSL_GUARDED_BY(mutex_);
  int64_t begin_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t step_calls_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t live_jobs_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t hanging_ ABSL_GUARDED_BY(mutex_) = 0;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool device_lost_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_API_FAKE_ENCODER_H_
