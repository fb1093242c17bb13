#ifndef LONGWAVE_TESTS_BENCH_BARS_H_
#define LONGWAVE_TESTS_BENCH_BARS_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/bench/measure.h"

namespace longwave {

// A figure that the project holds itself to. Names are stable: people and scripts refer to them.
struct Bar {
  absl::string_view name;
  absl::string_view what;
  bool at_least = true;  // value >= limit; else value <= limit
  double limit = 0;
  double aim = 0;  // beyond the limit, where one is set; 0: none
};

// All of them, in the order in which they are printed.
const std::vector<Bar>& AttentionBars();
const std::vector<Bar>& EncoderBars();
bool IsBar(absl::string_view name);
// Precondition: IsBar(name).
const Bar& FindBar(absl::string_view name);

// False of what is not a number.
bool Passes(const Bar& bar, double value);

// What was measured for one bar.
struct BarResult {
  const Bar* bar = nullptr;
  double value = 0;
  std::vector<Samples> samples;  // the times that the value was made from; the first is ours
  double error = 0;              // ours, against double; relative to max |v| or max |row|
  double error_limit = 1e-4;     // beyond it the figure is void
  std::string reference;         // what it was measured against
  nlohmann::ordered_json details = nlohmann::ordered_json::object();  // shape, other figures
};

// bar, what, value, limit, direction, pass, repeats, error, reference, then `seconds` (medians by
// name), `warm_up_seconds`, `disagreement`, then the details. A value that does not exist is null
// and does not pass.
nlohmann::ordered_json ToJson(const BarResult& result);
// One line for people.
std::string ToLine(const BarResult& result);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_BARS_H_
