#ifndef LONGWAVE_TESTS_BENCH_MEASURE_H_
#define LONGWAVE_TESTS_BENCH_MEASURE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/base/clock.h"

namespace longwave {

// One of those that are compared.
struct Contender {
  std::string name;
  std::function<void()> body;
  // Before each sample and not timed; may be empty.
  std::function<void()> prepare;
};

struct MeasureOptions {
  int repeats = 5;
  // A sample is the mean of as many calls as fill this time.
  double sample_seconds = 0.05;
  // Of a body that takes longer, the first call is the warm-up, and three repeats are enough.
  double long_seconds = 1;
  // How far warm-up and median, or the quartiles of the repeats, may lie apart, as a part of the
  // median.
  double limit = 0.25;
  // How often a measurement is done again when it did not repeat.
  int retries = 3;
};

// Seconds of one call.
struct Samples {
  std::string name;
  double warm_up = 0;
  std::vector<double> repeats;

  double Median() const;
  // max(|warm_up / median - 1|, (third quartile - first quartile) / median); 0 of a single run,
  // which nothing can be compared with.
  double Disagreement() const;
};

// The middle value; of an even number, the mean of the two in the middle. Not empty.
double Median(std::vector<double> values);

// OK, or UNAVAILABLE naming the contender that disagrees most, by how much, and the limit.
absl::Status CheckRepeats(absl::Span<const Samples> samples, double limit);

// Each contender once unmeasured; then a warm-up sample of each and `repeats` rounds in which each
// has its turn, so that noise meets all of them. All rounds are done again while warm-up and
// repeats disagree; after the last retry UNAVAILABLE. In the order of `contenders`.
absl::StatusOr<std::vector<Samples>> Measure(const std::vector<Contender>& contenders,
                                             const MeasureOptions& options, const Clock& clock);

// `warm_up` once and `body` once: for bodies that take minutes. `repeats` has one value.
Samples MeasureOnce(const std::string& name, const std::function<void()>& warm_up,
                    const std::function<void()>& body, const Clock& clock);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_MEASURE_H_
