#ifndef LONGWAVE_MODEL_ENCODER_TRANSFORMER_ENCODER_H_
#define LONGWAVE_MODEL_ENCODER_TRANSFORMER_ENCODER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/api/encoder.h"
#include "model/base/clock.h"
#include "model/base/compute_pool.h"
#include "model/weights/model_folder.h"

// The model as the server sees it. No LibTorch in this header.
namespace longwave {

struct TransformerEncoderOptions {
  // "auto" (CUDA if there is a usable device, else the CPU), "cpu", "cuda", "cuda:<index>".
  std::string device = "auto";
  // Compute threads on the CPU; 0 = one per core. Results do not depend on it.
  int threads = 0;
  // The instruction sets that LibTorch, oneDNN and MKL may use on the CPU: "auto", "avx2",
  // "avx512". The same as PrepareProcessForCompute was given. Part of the fingerprint, since bits
  // depend on it.
  std::string cpu_target = "auto";
  // What the dense layers' products are rounded to: "fp32", and on CUDA "tf32" or "bf16" too. Part
  // of the fingerprint.
  std::string compute_dtype = "fp32";
  // The pool of an encoder that this process has already (shared_compute_pool): the processors are
  // the same ones, so a second set of threads would only take turns with the first. Null: a new one
  // of `threads`.
  std::shared_ptr<ComputePool> pool;

  // Every problem at once, each naming the flag to change.
  absl::Status Validate() const;
};

// Sets the environment that the mathematics libraries read when they are first used: one thread
// each and the instruction sets of `cpu_target`. Call it first in main, before any thread is
// started. INVALID_ARGUMENT for an unknown target.
absl::Status PrepareProcessForCompute(absl::string_view cpu_target);

// What every thread that computes does first; ComputePools of encoders have it as `on_start`.
void PrepareComputeThread();

class TransformerEncoder final : public Encoder {
 public:
  // Copies the weights to the device. The folder is not needed afterwards.
  static absl::StatusOr<std::unique_ptr<TransformerEncoder>> Create(
      const ModelFolder& folder, const TransformerEncoderOptions& options);
  ~TransformerEncoder() override;

  // Runs every route twice and measures: fills in Info().max_slice_seconds and the rates behind
  // Predict, and nothing else: routes and bits do not depend on it. Call it once, before the
  // encoder is shared; Info() is constant afterwards.
  absl::Status WarmUp(const Clock& clock = SteadyClock());

  const EncoderInfo& Info() const override;
  absl::Status Health() const override;
  FftGuardCounts FftGuard() const override;
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override;
  absl::Status CheckRoute(int64_t tokens, Route route) const override;
  // Jobs must not outlive the encoder.
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override;

  // Why device "auto" is the CPU; empty if it is not, or the CPU was asked for.
  const std::string& fallback_reason() const;
  // null on CUDA.
  ComputePool* compute_pool() const;
  // The same, for another encoder's options.
  const std::shared_ptr<ComputePool>& shared_compute_pool() const;

 private:
  struct State;
  explicit TransformerEncoder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_TRANSFORMER_ENCODER_H_
