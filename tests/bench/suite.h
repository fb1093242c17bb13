#ifndef LONGWAVE_TESTS_BENCH_SUITE_H_
#define LONGWAVE_TESTS_BENCH_SUITE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/base/clock.h"
#include "model/base/compute_pool.h"
#include "tests/bench/bars.h"
#include "tests/bench/bench_options.h"
#include "tests/bench/measure.h"
#include "tests/bench/rooflines.h"
#include "tests/bench/workload.h"

namespace longwave {

// What the rows of one run share: the machine's rooflines, threads, how a figure leaves the
// program and what became of those that could not. Used from one thread.
class Suite {
 public:
  explicit Suite(const BenchOptions& options);

  const BenchOptions& options() const { return options_; }
  ComputePool* pool() { return &pool_; }
  const Clock& clock() const { return clock_; }
  const Rooflines& rooflines() const { return rooflines_; }

  // Shapes of the tiny suite, which proves the program and not the machine: a 64th of the tokens,
  // but at least 128, and two heads.
  int64_t Tokens(int64_t n) const;
  int64_t Heads(int64_t heads) const;

  // Whether one of these is among options.only, or all are asked for.
  bool Wants(absl::Span<const absl::string_view> bars) const;

  // First thing of a run; prints them.
  absl::Status MeasureRooflines();

  absl::StatusOr<std::vector<Samples>> Measure(const std::vector<Contender>& contenders) const;
  // The same with both sgemm contenders among them, last, so that a floor is of the same minute.
  absl::StatusOr<std::vector<Samples>> MeasureBesideSgemm(std::vector<Contender> contenders) const;
  Contender Ours(const std::string& name, const Workload& load, Route route);
  Contender OfPeer(const Peer& peer) const;
  // Fills `seconds`-like details of a floor: value = seconds over flops at sgemm's rate, and
  // value_against_best. `samples` come from MeasureBesideSgemm; the first one is meant.
  double ValueAgainstFloor(absl::Span<const Samples> samples, double flops,
                           nlohmann::ordered_json& details) const;

  // Prints a figure, unless its error makes it void.
  void Report(BarResult result);
  // Prints an object that is no bar.
  void ReportPoint(nlohmann::ordered_json object, const std::string& line);
  // The bars have no figure, since `status`.
  void Refuse(absl::Span<const absl::string_view> bars, const absl::Status& status);
  // On stderr if that is a terminal.
  void Progress(const std::string& text) const;

  // OK, INTERNAL if a result was wrong, UNAVAILABLE if a measurement did not repeat.
  absl::Status Result() const;

 private:
  const BenchOptions options_;
  ComputePool pool_;
  const SteadyClock clock_;
  Rooflines rooflines_;
  absl::Status worst_;
};

// device, target, threads, n, heads, head_dim, features of a bar over one workload.
nlohmann::ordered_json ShapeDetails(const BenchOptions& options);
// "avx2", "avx512", ...: what the libraries of this process compute with.
std::string CpuTargetInUse();

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_SUITE_H_
