#ifndef LONGWAVE_SERVER_ADMISSION_COST_MODEL_H_
#define LONGWAVE_SERVER_ADMISSION_COST_MODEL_H_

#include <array>
#include <cstdint>

#include "model/api/encoder.h"
#include "model/base/mutex.h"

namespace longwave {

// Predicted time of one sequence in usual weather.
struct CostEstimate {
  double seconds = 0;         // as a job by itself
  double shared_seconds = 0;  // its part of the job that it will probably ride in
};

// A job that has ended: what the encoder predicted for its members, and what it took.
struct JobCost {
  Route route = Route::kAuto;  // of its longest sequence
  int sequences = 0;
  double predicted_seconds = 0;  // the encoder's, summed over the members
  double actual_seconds = 0;
};

// Turns the encoder's predictions, which know the work but not this machine on this day, into
// seconds. Per route a line is fitted to the jobs that have ended,
//   seconds = a + b * sequences + c * predicted,
// by recursive least squares on relative errors with forgetting; a factor common to all routes, the
// weather, follows what changes within seconds: throttling, neighbours. One wild measurement moves
// neither far. Feeds admission and estimates only, never the choice of a route. Thread-safe.
class CostModel {
 public:
  CostModel();

  CostEstimate Estimate(const CostPrediction& prediction) const;
  void Observe(const JobCost& job);

  // The 95th percentile of measured over estimated seconds of late; at least 1.
  double HighRatio() const;
  // The common factor: how many times longer than estimated jobs take just now.
  double Weather() const;

 private:
  static constexpr int kTerms = 3;
  static constexpr int kWindow = 128;
  using Vector = std::array<double, kTerms>;

  // The line of one route and the covariance of its error.
  struct Line {
    Vector coefficients{0, 0, 1};
    std::array<Vector, kTerms> covariance{};
  };

  double EstimateJob(const JobCost& job) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Fit(Line& line, const Vector& terms, double target) const;
  void NoteRatio(double ratio) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static size_t Index(Route route) { return static_cast<size_t>(route); }

  mutable Mutex mutex_;
  std::array<Line, 6> lines_ ABSL_GUARDED_BY(mutex_);  // by route
  double log_weather_ ABSL_GUARDED_BY(mutex_) = 0;
  double mates_ ABSL_GUARDED_BY(mutex_) = 1;  // sequences of a job, of late
  std::array<float, kWindow> ratios_ ABSL_GUARDED_BY(mutex_){};
  int64_t observed_ ABSL_GUARDED_BY(mutex_) = 0;
  double high_ratio_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ADMISSION_COST_MODEL_H_
