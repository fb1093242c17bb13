#include "server/scheduling/pricer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/base/error.h"
#include "server/scheduling/batch_former.h"

namespace longwave {
namespace {

// No prediction is believed beyond this, so that sums of them stay within 64 bits of nanoseconds.
constexpr double kLongestPrediction = 1e5;

double Believed(double seconds) {
  return seconds > 0 ? std::min(seconds, kLongestPrediction) : 0;  // NaN: 0
}

}  // namespace

Pricer::Pricer(const ServedModel& model, const SchedulerOptions& options)
    : model_(model), options_(options) {
  price_.weather = model.cost.Weather();
  price_.high_ratio = model.cost.HighRatio();
}

Pricer::Item Pricer::Add(const SequenceWork& shape) {
  Item item;
  item.cost = model_.encoder->Predict(shape.tokens, *shape.output, shape.route);
  item.cost.seconds = Believed(item.cost.seconds);
  const CostEstimate estimate = model_.cost.Estimate(item.cost);
  const double alone = Believed(estimate.seconds);
  CostPrediction measured = item.cost;
  measured.seconds = alone;
  item.alone = RidesAlone(measured, shape.tokens, shape.streamed, options_);
  const double shared = item.alone ? alone : Believed(estimate.shared_seconds);
  item.shared = FromSeconds(shared);

  ++price_.sequences;
  price_.alone = price_.alone && item.alone;
  price_.tokens += shape.tokens;
  price_.shared_seconds += shared;
  price_.longest_seconds = std::max(price_.longest_seconds, alone);
  price_.encoder_seconds += item.cost.seconds;
  most_alone_ = std::max(most_alone_, alone - shared);
  price_.seconds = price_.shared_seconds + most_alone_;

  if (item.cost.peak_bytes > forecast_.peak_bytes) {
    forecast_.peak_bytes = item.cost.peak_bytes;
    largest_tokens_ = shape.tokens;
  }
  forecast_.slices += item.cost.slices;
  auto& routes = forecast_.routes;
  if (std::find(routes.begin(), routes.end(), item.cost.route) == routes.end()) {
    routes.push_back(item.cost.route);
  }
  return item;
}

Forecast Pricer::forecast() const {
  Forecast forecast = forecast_;
  forecast.seconds = price_.seconds * price_.weather;
  return forecast;
}

absl::Status Pricer::CheckMemory() const {
  if (forecast_.peak_bytes <= options_.max_resident_bytes) return absl::OkStatus();
  return MakeError({.reason = ErrorReason::kMemoryFull,
                    .limit = absl::StrCat(options_.max_resident_bytes, " bytes")},
                   absl::StrCat("a sequence of ", largest_tokens_, " tokens needs about ",
                                forecast_.peak_bytes, " bytes"));
}

}  // namespace longwave
