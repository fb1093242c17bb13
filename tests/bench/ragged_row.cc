#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "tests/bench/attention_rows.h"
#include "tests/bench/ragged.h"

namespace longwave {
namespace {

std::vector<Workload> Parts(const Workload& whole, const std::vector<int64_t>& lengths) {
  std::vector<Workload> parts;
  int64_t first = 0;
  for (const int64_t n : lengths) {
    parts.push_back(PartOf(whole, first, n));
    first += n;
  }
  return parts;
}

void RunBatch(const std::vector<Workload>& parts, ComputePool* pool) {
  std::vector<std::unique_ptr<AttentionPass>> passes;
  for (const Workload& part : parts) {
    passes.push_back(part.attention->Begin(Route::kAuto, part.q, part.k, part.v, part.out));
  }
  RunPasses(passes, pool);
}

}  // namespace

void RunRaggedRow(Suite& suite) {
  const absl::string_view bars[] = {"core_ragged"};
  if (!suite.Wants(bars)) return;
  suite.Progress("ragged batch");
  const int64_t total = suite.Tokens(65536);
  const auto whole = MakeWorkload(CoreOptions(suite, 65536, 12));
  if (!whole.ok()) return suite.Refuse(bars, whole.status());
  const std::vector<int64_t> lengths =
      LogUniformLengths(total, suite.Tokens(128), suite.Tokens(16384), suite.options().seed);
  const std::vector<Workload> ragged = Parts(*whole, lengths);
  const std::vector<Workload> equal = Parts(*whole, std::vector<int64_t>(16, total / 16));
  const auto samples = suite.Measure({{"ours", [&] { RunBatch(ragged, suite.pool()); }, {}},
                                      {"equal", [&] { RunBatch(equal, suite.pool()); }, {}}});
  if (!samples.ok()) return suite.Refuse(bars, samples.status());
  RunBatch(ragged, suite.pool());  // the last run was another's
  const auto shortest = std::min_element(lengths.begin(), lengths.end());
  const double value = (*samples)[0].Median() / (*samples)[1].Median();
  BarResult result = ResultOf(suite, bars[0], ragged[shortest - lengths.begin()], value, *samples);
  const auto longest = std::max_element(lengths.begin(), lengths.end());
  const Workload& part = ragged[longest - lengths.begin()];
  const ExpectedRows expected = Expected(part, FeatureKind::kPrf, true, suite.pool());
  result.error = std::max(result.error, WorstError(part.out, part, expected));
  result.reference = "shortest and longest sequence, up to 4096 rows in double";
  result.details["n"] = total;
  result.details["lengths"] = lengths;
  suite.Report(std::move(result));
}

}  // namespace longwave
