// The program `longwave`: a client of longwave-server for the command line.
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "client/cli/commands.h"

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  // Debian's Abseil looks for cycles at every lock that gRPC takes: a lock of the whole process
  // each time, which `load` would measure.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  longwave::cli::Environment environment;
  if (const char* key = std::getenv("LONGWAVE_API_KEY")) environment.api_key = key;
  return longwave::cli::RunProgram(std::vector<std::string>(argv + 1, argv + argc), std::cin,
                                   std::cout, std::cerr, environment);
}
