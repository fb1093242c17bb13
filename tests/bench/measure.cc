#include "tests/bench/measure.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longwave {
namespace {

// Enough to see that a long run repeats.
constexpr int kLongRepeats = 3;

double TimeCalls(const Contender& contender, int calls, const Clock& clock) {
  if (contender.prepare) contender.prepare();
  const Instant begin = clock.Now();
  for (int call = 0; call < calls; ++call) contender.body();
  return ToSeconds(clock.Now() - begin) / calls;
}

// Linear interpolation between the sorted values.
double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

// How one contender is sampled, from its first, unmeasured calls.
struct Plan {
  int calls = 1;
  int repeats = 0;
  double first_call = 0;
  bool is_long = false;
};

Plan MakePlan(const Contender& contender, const MeasureOptions& options, const Clock& clock) {
  Plan plan = {.repeats = options.repeats};
  plan.first_call = TimeCalls(contender, 1, clock);
  if (plan.first_call >= options.long_seconds) {
    plan.is_long = true;
    plan.repeats = std::min(options.repeats, kLongRepeats);
    return plan;
  }
  const double warm_call = TimeCalls(contender, 1, clock);
  if (warm_call < options.sample_seconds) {
    const double floor = options.sample_seconds / 1e4;
    plan.calls = static_cast<int>(std::ceil(options.sample_seconds / std::max(warm_call, floor)));
  }
  return plan;
}

}  // namespace

double Median(std::vector<double> values) { return Quantile(std::move(values), 0.5); }

double Samples::Median() const { return longwave::Median(repeats); }

double Samples::Disagreement() const {
  if (repeats.size() < 2) return 0;
  const double median = Median();
  const double spread = (Quantile(repeats, 0.75) - Quantile(repeats, 0.25)) / median;
  return std::max(std::abs(warm_up / median - 1), spread);
}

absl::Status CheckRepeats(absl::Span<const Samples> samples, double limit) {
  const Samples* worst = nullptr;
  for (const Samples& each : samples) {
    if (worst == nullptr || each.Disagreement() > worst->Disagreement()) worst = &each;
  }
  // The negation also catches what is not a number.
  if (worst == nullptr || worst->Disagreement() <= limit) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat(
      "%s did not repeat: warm-up %.4g s, median %.4g s, disagreement %.0f %%, "
      "limit %.0f %%",
      worst->name, worst->warm_up, worst->Median(), 100 * worst->Disagreement(), 100 * limit));
}

absl::StatusOr<std::vector<Samples>> Measure(const std::vector<Contender>& contenders,
                                             const MeasureOptions& options, const Clock& clock) {
  std::vector<Plan> plans;
  for (const Contender& contender : contenders) {
    plans.push_back(MakePlan(contender, options, clock));
  }
  absl::Status status;
  for (int attempt = 0; attempt <= options.retries; ++attempt) {
    std::vector<Samples> samples(contenders.size());
    for (size_t i = 0; i < contenders.size(); ++i) {
      samples[i].name = contenders[i].name;
      const bool reuse = plans[i].is_long && attempt == 0;
      samples[i].warm_up =
          reuse ? plans[i].first_call : TimeCalls(contenders[i], plans[i].calls, clock);
    }
    for (int round = 0; round < options.repeats; ++round) {
      for (size_t i = 0; i < contenders.size(); ++i) {
        if (round >= plans[i].repeats) continue;
        samples[i].repeats.push_back(TimeCalls(contenders[i], plans[i].calls, clock));
      }
    }
    status = CheckRepeats(samples, options.limit);
    if (status.ok()) return samples;
  }
  return absl::UnavailableError(
      absl::StrCat(std::string(status.message()), ", attempts ", options.retries + 1));
}

Samples MeasureOnce(const std::string& name, const std::function<void()>& warm_up,
                    const std::function<void()>& body, const Clock& clock) {
  Samples samples = {.name = name};
  samples.warm_up = TimeCalls({name, warm_up, {}}, 1, clock);
  samples.repeats = {TimeCalls({name, body, {}}, 1, clock)};
  return samples;
}

}  // namespace longwave
