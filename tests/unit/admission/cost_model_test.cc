#include "server/admission/cost_model.h"

#include <cmath>
#include <functional>
#include <random>

#include "gtest/gtest.h"

namespace longwave {
namespace {

constexpr Route kRoute = Route::kChunkwise;

CostPrediction Predicted(double seconds, Route route = kRoute) {
  return {.seconds = seconds, .slices = 1, .route = route};
}

// Jobs of one to eight sequences of 1 ms to 1 s by the encoder, which take `actual` of what they
// hold.
void Feed(CostModel& model, int jobs, uint32_t seed,
          const std::function<double(int sequences, double predicted)>& actual) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> decade(-3, 0);
  for (int j = 0; j < jobs; ++j) {
    JobCost job{.route = kRoute, .sequences = 1 + static_cast<int>(random() % 8)};
    for (int s = 0; s < job.sequences; ++s) job.predicted_seconds += std::pow(10, decade(random));
    job.actual_seconds = actual(job.sequences, job.predicted_seconds);
    model.Observe(job);
  }
}

double Estimated(const CostModel& model, double seconds) {
  return model.Estimate(Predicted(seconds)).seconds * model.Weather();
}

TEST(CostModelTest, BelievesTheEncoderAtFirst) {
  const CostModel model;
  EXPECT_DOUBLE_EQ(Estimated(model, 0.25), 0.25);
  EXPECT_DOUBLE_EQ(model.Weather(), 1);
  EXPECT_GT(model.HighRatio(), 1);
}

TEST(CostModelTest, LearnsAFactorWhateverItIs) {
  for (const double factor : {0.3, 1.0, 3.0}) {
    CostModel model;
    Feed(model, 300, 7, [&](int, double predicted) { return factor * predicted; });
    for (const double seconds : {0.01, 0.1, 1.0}) {
      EXPECT_NEAR(Estimated(model, seconds), factor * seconds, 0.02 * factor * seconds) << factor;
    }
  }
}

TEST(CostModelTest, LearnsWhatAJobAndASequenceCostBesideTheWork) {
  CostModel model;
  // A job has 2 ms of its own; the encoder counts 1 ms for each sequence that is not there.
  Feed(model, 2000, 7,
       [](int sequences, double predicted) { return 2e-3 - 1e-3 * sequences + predicted; });
  EXPECT_NEAR(Estimated(model, 0.01), 0.011, 5e-4);
  EXPECT_NEAR(Estimated(model, 1), 1.001, 0.01);
  // Mates share what a job costs.
  EXPECT_LT(model.Estimate(Predicted(0.01)).shared_seconds,
            model.Estimate(Predicted(0.01)).seconds - 1e-3);
}

TEST(CostModelTest, FollowsADeviceThatSlowsDownWithinSeconds) {
  CostModel model;
  Feed(model, 300, 7, [](int, double predicted) { return predicted; });
  double spent = 0;
  for (int j = 0; j < 100 && spent < 5; ++j) {
    model.Observe(
        {.route = kRoute, .sequences = 1, .predicted_seconds = 0.02, .actual_seconds = 0.1});
    spent += 0.1;
  }
  EXPECT_GT(Estimated(model, 0.1), 0.4);
  EXPECT_LT(Estimated(model, 0.1), 0.6);
}

TEST(CostModelTest, OneWildMeasurementMovesLittle) {
  CostModel model;
  Feed(model, 300, 7, [](int, double predicted) { return predicted; });
  model.Observe({.route = kRoute, .sequences = 1, .predicted_seconds = 0.02, .actual_seconds = 60});
  EXPECT_LT(Estimated(model, 0.1), 0.25);
  // A second of ordinary work forgets the rest.
  Feed(model, 30, 8, [](int, double predicted) { return predicted; });
  EXPECT_LT(Estimated(model, 0.1), 0.12);
}

TEST(CostModelTest, RoutesDoNotTeachEachOtherTheirLines) {
  CostModel model;
  Feed(model, 300, 7, [](int, double predicted) { return 3 * predicted; });
  const double other = model.Estimate(Predicted(0.1, Route::kFft)).seconds;
  EXPECT_DOUBLE_EQ(other, 0.1);
}

TEST(CostModelTest, TheHighRatioIsThe95thPercentile) {
  CostModel model;
  std::mt19937 random(3);
  // One in ten takes twice as long.
  Feed(model, 400, 7,
       [&](int, double predicted) { return random() % 10 == 0 ? 2 * predicted : predicted; });
  EXPECT_GT(model.HighRatio(), 1.5);
  EXPECT_LT(model.HighRatio(), 2.3);
}

TEST(CostModelTest, JobsThatAreAllAlikeDoNotMakeItWild) {
  CostModel model;
  for (int j = 0; j < 100'000; ++j) {
    model.Observe(
        {.route = kRoute, .sequences = 4, .predicted_seconds = 0.04, .actual_seconds = 0.05});
  }
  for (const double seconds : {0.001, 0.01, 0.1, 1.0}) {
    EXPECT_GT(Estimated(model, seconds), 0.5 * seconds);
    EXPECT_LT(Estimated(model, seconds), 3 * seconds);
  }
}

TEST(CostModelTest, NumbersThatAreNoMeasurementChangeNothing) {
  CostModel model;
  for (const double bad : {0.0, -1.0, std::nan("")}) {
    model.Observe({.route = kRoute, .sequences = 1, .predicted_seconds = 1, .actual_seconds = bad});
    model.Observe({.route = kRoute, .sequences = 1, .predicted_seconds = bad, .actual_seconds = 1});
  }
  model.Observe({.route = kRoute, .sequences = 0, .predicted_seconds = 1, .actual_seconds = 1});
  EXPECT_DOUBLE_EQ(Estimated(model, 0.25), 0.25);
}

}  // namespace
}  // namespace longwave
