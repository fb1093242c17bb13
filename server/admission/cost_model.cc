#include "server/admission/cost_model.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace longwave {
namespace {

// Two hundred jobs back weigh a third of the last one.
constexpr double kForgetting = 0.995;
// How unsure the first line is of its terms: the two constants by some milliseconds, the slope by
// itself. Forgetting lets uncertainty grow no further than this.
constexpr std::array kInitialVariance = {1e-5, 1e-5, 1.0};
// An error of this factor is believed at once; what is beyond counts as this much.
constexpr double kWildRatio = 4;
// No correction goes beyond this factor: the encoder's prediction is of the right order, or there
// is nothing to be learned here.
constexpr double kLargestCorrection = 64;
// The weather changes within this many seconds of compute.
constexpr double kWeatherSeconds = 2;
// A job that took longer says as much about the weather as this.
constexpr double kMostWeight = 0.5;
constexpr double kMatesWeight = 0.05;
// Until enough jobs have ended to count percentiles.
constexpr double kFirstHighRatio = 1.25;
constexpr int kEnoughRatios = 20;
constexpr double kHighQuantile = 0.95;
constexpr double kLeastSeconds = 1e-9;

double Bounded(double seconds, double predicted) {
  const double base = std::max(predicted, kLeastSeconds);
  return std::clamp(seconds, base / kLargestCorrection, base * kLargestCorrection);
}

}  // namespace

CostModel::CostModel() : high_ratio_(kFirstHighRatio) {
  for (Line& line : lines_) {
    for (int i = 0; i < kTerms; ++i) line.covariance[i][i] = kInitialVariance[i];
  }
}

CostEstimate CostModel::Estimate(const CostPrediction& prediction) const {
  MutexLock lock(&mutex_);
  const Vector& line = lines_[Index(prediction.route)].coefficients;
  const double own = line[1] + line[2] * prediction.seconds;
  CostEstimate estimate;
  estimate.seconds = Bounded(line[0] + own, prediction.seconds);
  // Never dearer together than alone, whatever a line of few points says.
  estimate.shared_seconds =
      std::min(estimate.seconds, Bounded(line[0] / mates_ + own, prediction.seconds));
  return estimate;
}

double CostModel::EstimateJob(const JobCost& job) const {
  const Vector& line = lines_[Index(job.route)].coefficients;
  return Bounded(line[0] + line[1] * job.sequences + line[2] * job.predicted_seconds,
                 job.predicted_seconds);
}

void CostModel::Observe(const JobCost& job) {
  if (job.sequences <= 0 || !(job.actual_seconds > 0) || !(job.predicted_seconds > 0)) return;
  MutexLock lock(&mutex_);
  const double estimate = EstimateJob(job);
  const double weather = std::exp(log_weather_);
  NoteRatio(job.actual_seconds / (estimate * weather));
  // Relative to the estimate, so that short jobs are as important as long ones.
  const double ratio =
      std::clamp(job.actual_seconds / estimate, weather / kWildRatio, weather * kWildRatio);
  const Vector terms = {1 / estimate, job.sequences / estimate, job.predicted_seconds / estimate};
  Fit(lines_[Index(job.route)], terms, std::clamp(ratio, 1 / kWildRatio, kWildRatio));
  const double weight = std::min(kMostWeight, job.actual_seconds / kWeatherSeconds);
  // What the line has just learned is no weather any more.
  const double left = std::log(ratio * estimate / EstimateJob(job));
  log_weather_ += weight * (left - log_weather_);
  mates_ += kMatesWeight * (job.sequences - mates_);
}

void CostModel::Fit(Line& line, const Vector& terms, double target) const {
  // Recursive least squares: gain = P x / (lambda + x' P x).
  Vector projected{};
  double spread = kForgetting;
  double error = target;
  for (int i = 0; i < kTerms; ++i) {
    for (int j = 0; j < kTerms; ++j) projected[i] += line.covariance[i][j] * terms[j];
    spread += terms[i] * projected[i];
    error -= terms[i] * line.coefficients[i];
  }
  bool sure = true;
  for (int i = 0; i < kTerms; ++i) {
    line.coefficients[i] += projected[i] / spread * error;
    for (int j = 0; j < kTerms; ++j) {
      line.covariance[i][j] -= projected[i] * projected[j] / spread;
    }
    sure = sure && line.covariance[i][i] <= kInitialVariance[i];
  }
  // Jobs that are all alike say nothing about some directions, whose variance forgetting would
  // blow up.
  if (!sure) return;
  for (Vector& row : line.covariance) {
    for (double& entry : row) entry /= kForgetting;
  }
}

void CostModel::NoteRatio(double ratio) {
  ratios_[observed_++ % kWindow] = static_cast<float>(ratio);
  if (observed_ < kEnoughRatios) return;
  const auto count = static_cast<size_t>(std::min<int64_t>(observed_, kWindow));
  std::vector<float> sorted(ratios_.begin(), ratios_.begin() + count);
  const auto high = sorted.begin() + static_cast<int64_t>(kHighQuantile * (count - 1));
  std::nth_element(sorted.begin(), high, sorted.end());
  high_ratio_ = std::max(1.0, static_cast<double>(*high));
}

double CostModel::HighRatio() const {
  MutexLock lock(&mutex_);
  return high_ratio_;
}

double CostModel::Weather() const {
  MutexLock lock(&mutex_);
  return std::exp(log_weather_);
}

}  // namespace longwave
