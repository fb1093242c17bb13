// The controller under load, in virtual time: goodput, recovery, fairness between tenants, errors
// of the cost model, a device that slows down. Capacity is known: the engine's tokens a second.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/simulation/open_loop.h"

namespace longwave {
namespace {

constexpr double kCapacity = 1e5;  // tokens a second: 1 / seconds_per_token
constexpr int64_t kTokens = 512;

std::function<double(double)> Always(double rate) {
  return [rate](double) { return rate; };
}

// Requests of 512 tokens at `load` times the capacity, half a second each.
Source Steady(double load) {
  const double rate = load * kCapacity / kTokens;
  return {.rate = Always(rate),
          .peak_rate = rate,
          .tokens = [](uint32_t) { return kTokens; },
          .deadline_seconds = 0.5};
}

bool All(const Outcome&) { return true; }

int64_t CountOf(const std::vector<Outcome>& outcomes, ErrorReason reason, bool accepted) {
  return std::count_if(outcomes.begin(), outcomes.end(), [&](const Outcome& outcome) {
    return !outcome.ok && outcome.reason == reason && outcome.accepted == accepted;
  });
}

TEST(OverloadSimulation, GoodputAtTenTimesTheCapacityIsThatOfThePeak) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    double peak = 0;
    for (const double load : {0.5, 0.8, 1.0, 1.5, 2.0, 5.0, 10.0}) {
      const auto outcomes = RunOpenLoop({.seed = seed, .seconds = 30}, {Steady(load)});
      const double goodput = Goodput(outcomes, 2, 28);
      peak = std::max(peak, goodput);
      if (load >= 1) {
        // Jobs have a millisecond of their own, which a batch of eight sequences shares.
        EXPECT_GT(goodput, 0.93 * kCapacity) << "load " << load << ", seed " << seed;
        EXPECT_GE(goodput, 0.95 * peak) << "load " << load << ", seed " << seed;
      } else {
        EXPECT_GT(OkShare(outcomes, All), 0.999) << "load " << load << ", seed " << seed;
      }
      // What is let in ends in time.
      EXPECT_LT(CountOf(outcomes, ErrorReason::kDeadlineExpired, true),
                1e-3 * static_cast<double>(outcomes.size()))
          << "load " << load << ", seed " << seed;
    }
  }
}

TEST(OverloadSimulation, AfterAMinuteOfTenfoldLoadTheOfferedLoadIsServedAtOnce) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    Source source = Steady(10);
    const double peak = source.peak_rate;
    source.rate = [peak](double now) { return now < 60 ? peak : 0.07 * peak; };
    const auto outcomes = RunOpenLoop({.seed = seed, .seconds = 90}, {source});
    const auto after = [](const Outcome& outcome) { return outcome.arrived > 61; };
    EXPECT_GT(OkShare(outcomes, after), 0.999) << seed;
  }
}

TEST(OverloadSimulation, WithoutDeadlinesTheWaitIsBounded) {
  Source source = Steady(10);
  source.deadline_seconds = 0;
  OpenLoopOptions options;
  options.scheduler.admission.max_wait_seconds = 1;
  const auto outcomes = RunOpenLoop(options, {source});
  EXPECT_GT(Goodput(outcomes, 5, 55), 0.93 * kCapacity);
  EXPECT_LT(LatencyQuantile(outcomes, 0.999, All), 1.3);
}

// A calm tenant at three tenths of its half of the engine: by itself, and beside one that sends ten
// times its own half.
struct CalmBesideFlood {
  std::vector<Outcome> alone;
  std::vector<Outcome> both;
};
CalmBesideFlood RunCalmBesideFlood(uint32_t seed, int64_t tokens_per_slice) {
  const OpenLoopOptions options{.seed = seed, .tokens_per_slice = tokens_per_slice};
  Source calm = Steady(0.15);
  calm.tenant = std::make_shared<Tenant>(Tenant{.name = "calm"});
  Source flood = Steady(5);
  flood.tenant = std::make_shared<Tenant>(Tenant{.name = "flood"});
  return {.alone = RunOpenLoop(options, {calm}), .both = RunOpenLoop(options, {calm, flood})};
}
bool IsCalm(const Outcome& outcome) { return outcome.source == 0; }

TEST(OverloadSimulation, ATenantAtTenTimesItsShareTakesNothingOfAnother) {
  // Half a request to a slice, as a server has it whose requests take more than a few milliseconds.
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    const auto [alone, both] = RunCalmBesideFlood(seed, kTokens / 2);
    EXPECT_GT(OkShare(both, IsCalm), 0.99) << seed;
    EXPECT_LT(LatencyQuantile(both, 0.99, IsCalm), 1.5 * LatencyQuantile(alone, 0.99, IsCalm))
        << seed;
    EXPECT_GT(Goodput(both, 5, 55), 0.93 * kCapacity) << seed;
  }
}

TEST(OverloadSimulation, WhatACalmTenantWaitsForBesideAFloodIsTheSliceInProgress) {
  // A slice of 11 ms, twice as long as a request: 1.5 times alone is out of reach, since the slice
  // in progress is not cut short. So the median grows by no more than that one slice. The p99,
  // 15 to 17 ms alone, grew by 9 to 11 ms (1.57 to 1.72 times) when this was written.
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    const double slice = 0.011;
    const auto [alone, both] = RunCalmBesideFlood(seed, 1000);
    EXPECT_GT(OkShare(both, IsCalm), 0.99) << seed;
    EXPECT_LT(LatencyQuantile(both, 0.5, IsCalm), LatencyQuantile(alone, 0.5, IsCalm) + slice)
        << seed;
    EXPECT_LT(LatencyQuantile(both, 0.99, IsCalm), 1.8 * LatencyQuantile(alone, 0.99, IsCalm))
        << seed;
    EXPECT_GT(Goodput(both, 5, 55), 0.93 * kCapacity) << seed;
  }
}

TEST(OverloadSimulation, SharesHoldBetweenTwoThatWantEverything) {
  Source large = Steady(5);
  large.tenant = std::make_shared<Tenant>(Tenant{.name = "large", .share = 3});
  Source small = Steady(5);
  small.tenant = std::make_shared<Tenant>(Tenant{.name = "small", .share = 1});
  const auto outcomes = RunOpenLoop({}, {large, small});
  double tokens[2] = {0, 0};
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok) tokens[outcome.source] += static_cast<double>(outcome.tokens);
  }
  EXPECT_NEAR(tokens[0] / (tokens[0] + tokens[1]), 0.75, 0.03);
}

TEST(OverloadSimulation, AnEncoderThatPredictsThreeTimesTooMuchOrTooLittleIsCorrected) {
  for (const double factor : {0.3, 3.0}) {
    for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
      OpenLoopOptions options{.seed = seed, .seconds = 40};
      options.slowness = [factor](double) { return factor; };
      const double load = 3 / factor;
      const auto outcomes = RunOpenLoop(options, {Steady(load)});
      EXPECT_GT(Goodput(outcomes, 5, 38), 0.9 * kCapacity / factor) << factor << ", seed " << seed;
      const int64_t late =
          std::count_if(outcomes.begin(), outcomes.end(), [](const Outcome& outcome) {
            return outcome.arrived > 5 && outcome.accepted && !outcome.ok;
          });
      EXPECT_LT(late, 0.01 * static_cast<double>(outcomes.size())) << factor << ", seed " << seed;
    }
  }
}

TEST(OverloadSimulation, ADeviceThatIsFiveTimesSlowerForAWhileCostsGoodputOnlyMeanwhile) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    OpenLoopOptions options{.seed = seed, .seconds = 90};
    options.slowness = [](double now) { return now > 30 && now < 60 ? 5.0 : 1.0; };
    const auto outcomes = RunOpenLoop(options, {Steady(2)});
    EXPECT_GT(Goodput(outcomes, 5, 29), 0.93 * kCapacity) << seed;
    EXPECT_GT(Goodput(outcomes, 35, 59), 0.85 * kCapacity / 5) << seed;
    EXPECT_GT(Goodput(outcomes, 65, 88), 0.93 * kCapacity) << seed;
  }
}

TEST(OverloadSimulation, OneStallOfAMinutePoisonsNothing) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    OpenLoopOptions options{.seed = seed, .seconds = 150};
    options.slowness = [stalled = false](double now) mutable {
      if (now < 30 || stalled) return 1.0;
      stalled = true;
      return 6000.0;  // of a slice of ten milliseconds
    };
    const auto outcomes = RunOpenLoop(options, {Steady(2)});
    EXPECT_GT(Goodput(outcomes, 100, 148), 0.93 * kCapacity) << seed;
  }
}

// One in twenty has 20 000 tokens: 0.2 s of compute each, and two thirds of all work.
constexpr int64_t kLongTokens = 20'000;
constexpr double kLongSeconds = 0.2;
Source Bimodal(double load) {
  const double rate = load * kCapacity / (0.95 * kTokens + 0.05 * kLongTokens);
  return {.rate = Always(rate),
          .peak_rate = rate,
          .tokens = [](uint32_t random) { return random % 20 == 0 ? kLongTokens : kTokens; },
          .deadline_seconds = 5};
}
bool IsShort(const Outcome& outcome) { return outcome.tokens == kTokens; }
bool IsLong(const Outcome& outcome) { return outcome.tokens > kTokens; }

TEST(OverloadSimulation, AShortRequestWaitsForOneLongOneAtMost) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    const auto outcomes = RunOpenLoop({.seed = seed}, {Bimodal(0.9)});
    EXPECT_GT(OkShare(outcomes, All), 0.999) << seed;
    // Then it rides with those that came meanwhile: 0.3 of the work of that time.
    EXPECT_LT(LatencyQuantile(outcomes, 0.99, IsShort), 1.4 * kLongSeconds) << seed;
  }
}

TEST(OverloadSimulation, LongAndShortRequestsBothGetThrough) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    const auto outcomes = RunOpenLoop({.seed = seed}, {Bimodal(1.5)});
    EXPECT_GT(Goodput(outcomes, 5, 55), 0.9 * kCapacity) << seed;
    EXPECT_GT(OkShare(outcomes, IsShort), 0.95) << seed;
    EXPECT_GT(OkShare(outcomes, IsLong), 0.2) << seed;
    // Whose turn has come under equal sharing is computed in one stretch. The short ones are half a
    // load, so a long one's stretch follows the other: one that comes in it waits for half of it
    // (0.1 s) in the mean, and for its batch: all that came in the stretch, half of 0.2 s of work.
    EXPECT_LT(LatencyQuantile(outcomes, 0.5, IsShort), kLongSeconds) << seed;
  }
}

}  // namespace
}  // namespace longwave
