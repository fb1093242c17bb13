#ifndef LONGWAVE_TESTS_BENCH_BENCH_REPORT_H_
#define LONGWAVE_TESTS_BENCH_BENCH_REPORT_H_

#include <functional>
#include <string>
#include <vector>

#include "tests/bench/bench_options.h"

namespace longwave {

// Seconds of one run of `body`: one run to warm up, then the median of `repeat`; a body that takes
// longer than ten seconds is run once more at most.
double MedianSeconds(int repeat, const std::function<void()>& body);

absl::string_view BiasKindName(BiasKind kind);

// One attention route beside one peer, measured in the same run.
struct AttentionResult {
  Route route = Route::kAuto;
  double seconds = 0;
  double relative_error = 0;  // worst |difference| / max |v|, against `reference`
  std::string reference;      // "dense double" or "64 rows in double"
  std::string peer;           // empty: none could be run
  double peer_seconds = 0;
  double peer_relative_error = 0;  // against the peer's own function, in double
  std::string peer_note;           // why there is no peer
};

struct EncoderResult {
  double seconds = 0;
  std::string peer;
  double peer_seconds = 0;
  std::string peer_note;
};

// One JSON object per line, or one line for people.
void Print(const BenchOptions& options, const AttentionResult& result);
void Print(const BenchOptions& options, const EncoderResult& result);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BENCH_REPORT_H_
