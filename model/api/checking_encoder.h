#ifndef LONGWAVE_MODEL_API_CHECKING_ENCODER_H_
#define LONGWAVE_MODEL_API_CHECKING_ENCODER_H_

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/encoder.h"

namespace longwave {

struct CheckingOptions {
  // Largest |row - reference row| allowed, as a share of the reference row's largest magnitude.
  double tolerance = 1e-5;
  // The route that the reference takes for every sequence.
  Route reference_route = Route::kAuto;
};

// Computes every job twice and sends the first encoder's rows only where the second agrees: a
// sequence in which one row does not ends with INTERNAL, which names the row and the distance.
// A job runs on the reference to its end, then on the primary, so it holds all the reference's
// rows: meant for tests and for trying a new route in service, not for a million token rows.
class CheckingEncoder final : public Encoder {
 public:
  // Both outlive this; they may be the same one.
  CheckingEncoder(Encoder* primary, Encoder* reference, CheckingOptions options);

  const EncoderInfo& Info() const override { return primary_.Info(); }
  // OK if both are.
  absl::Status Health() const override;
  // The primary's.
  FftGuardCounts FftGuard() const override { return primary_.FftGuard(); }
  // What both cost together; the primary's route.
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override;
  absl::Status CheckRoute(int64_t tokens, Route route) const override;
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override;

 private:
  Encoder& primary_;
  Encoder& reference_;
  const CheckingOptions options_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_API_CHECKING_ENCODER_H_
