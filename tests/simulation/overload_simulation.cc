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

TEST(OverloadSimulation, ATenantAtTenTimesItsShareTakesNothingOfAnother) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    Source calm = Steady(0.15);  // three tenths of half the engine
    calm.tenant = std::make_shared<Tenant>(Tenant{.name = "calm"});
    const auto alone = RunOpenLoop({.seed = seed}, {calm});
    Source flood = Steady(5);
    flood.tenant = std::make_shared<Tenant>(Tenant{.name = "flood"});
    const auto both = RunOpenLoop({.seed = seed}, {calm, flood});
    const auto is_calm = [](const Outcome& outcome) { return outcome.source == 0; };
    EXPECT_GT(OkShare(both, is_calm), 0.99) << seed;
    // Beside the flood a request meets one slice, and mates of its batch: kept out of the ratio,
    // since alone it meets none.
    const double slice = 0.011;
    EXPECT_LT(LatencyQuantile(both, 0.99, is_calm),
              1.5 * LatencyQuantile(alone, 0.99, is_calm) + 2 * slice)
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

TEST(OverloadSimulation, LongAndShortRequestsBothGetThrough) {
  for (uint32_t seed = 1; seed <= LONGWAVE_SEEDS; ++seed) {
    // One in twenty has 20 000 tokens: 0.2 s of compute each, and half of all work.
    Source source = Steady(1);
    source.tokens = [](uint32_t random) { return random % 20 == 0 ? int64_t{20'000} : kTokens; };
    source.deadline_seconds = 5;
    source.peak_rate = 1.5 * kCapacity / (0.95 * kTokens + 0.05 * 20'000);
    source.rate = Always(source.peak_rate);
    const auto outcomes = RunOpenLoop({.seed = seed}, {source});
    EXPECT_GT(Goodput(outcomes, 5, 55), 0.9 * kCapacity) << seed;
    const auto is_short = [](const Outcome& outcome) { return outcome.tokens == kTokens; };
    const auto is_long = [](const Outcome& outcome) { return outcome.tokens > kTokens; };
    EXPECT_GT(OkShare(outcomes, is_short), 0.95) << seed;
    EXPECT_GT(OkShare(outcomes, is_long), 0.2) << seed;
    EXPECT_LT(LatencyQuantile(outcomes, 0.5, is_short), 0.2)
        << seed << ": less than one long takes";
  }
}

}  // namespace
}  // namespace longwave
