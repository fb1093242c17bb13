#ifndef LONGWAVE_CLIENT_CLI_LOAD_ARGUMENTS_H_
#define LONGWAVE_CLIENT_CLI_LOAD_ARGUMENTS_H_

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "client/cli/access.h"
#include "client/cli/option_parser.h"
#include "client/load/grpc_sender.h"
#include "client/load/load_report.h"
#include "client/load/runner.h"
#include "client/load/schedule.h"
#include "client/load/validity.h"

namespace longwave::cli {

// One group of calls.
struct LoadGroup {
  std::string name = "all";
  load::Traffic traffic;
  load::GroupCalls calls;
  std::string priority;  // as it was named
};

// What `longwave load` is told.
struct LoadArguments {
  std::vector<std::string> targets;
  AccessArguments access;
  std::string model;
  std::string model_version;
  std::vector<LoadGroup> groups;  // at least one
  uint64_t seed = 1;
  double warmup_seconds = 0;
  double interval_seconds = 1;
  int64_t max_calls = load::kUnlimitedCalls;
  int connections = 4;
  bool retries = false;
  bool allow_model_change = false;
  bool find_capacity = false;
  bool json = false;
  bool distribution = false;
  bool quiet = false;
  load::RunOptions run;
  load::ValidityLimits limits;
};

// INVALID_ARGUMENT with a text for people. Reads the files that hold API keys.
absl::StatusOr<LoadArguments> ParseLoad(absl::Span<const std::string> arguments);
std::vector<OptionInfo> LoadOptionInfos();

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_LOAD_ARGUMENTS_H_
