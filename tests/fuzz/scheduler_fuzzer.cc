#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/simulation/history_checker.h"
#include "tests/simulation/schedule_generator.h"
#include "tests/simulation/simulated_world.h"

namespace longwave {
namespace {

// Enough for a schedule of forty requests; more bytes only make a run slower.
constexpr size_t kMaxBytes = 512;

void Run(const Schedule& schedule) {
  const std::vector<std::string> problems = CheckHistory(SimulatedWorld(schedule).Run());
  if (problems.empty()) return;
  for (const std::string& problem : problems) std::fprintf(stderr, "%s\n", problem.c_str());
  std::fprintf(stderr, "%s", ToText(schedule).c_str());
  std::abort();
}

}  // namespace
}  // namespace longwave

// Requests, cancellations, readers, rounds, time and faults in any order: every promise that the
// simulation checks, with chance in the hands of the fuzzer.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longwave::Run(longwave::ScheduleFromBytes(data, std::min(size, longwave::kMaxBytes)));
  return 0;
}
