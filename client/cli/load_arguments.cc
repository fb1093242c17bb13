#include "client/cli/load_arguments.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/load_group_spec.h"
#include "client/cli/option_parser.h"

namespace longwave::cli {
namespace {

constexpr double kMaxSeconds = 7 * 86400;
// A queue that is filled but not emptied within a step adds a deadline's worth of work to it.
constexpr double kDeadlinesPerStep = 10;

struct LoadParsing {
  LoadArguments arguments;
  double seconds = 10;
  double warmup = -1;  // not given
  // Fields of every group, and the groups, as they were given: they are read when all options are
  // known, so that their order does not matter.
  std::vector<std::pair<std::string, std::string>> fields;
  std::vector<std::string> groups;
};

OptionParser::Setter Number(double least, double most, double* target) {
  return [least, most, target](absl::string_view value) {
    double number = 0;
    if (!absl::SimpleAtod(value, &number) || !(number >= least) || !(number <= most)) {
      return absl::InvalidArgumentError(absl::StrCat("is not a number from ", least, " to ", most));
    }
    *target = number;
    return absl::OkStatus();
  };
}

OptionParser::Setter Field(const char* field, LoadParsing* state) {
  return [field, state](absl::string_view value) {
    state->fields.emplace_back(field, std::string(value));
    return absl::OkStatus();
  };
}

void AddTrafficOptions(OptionParser& parser, LoadParsing* state) {
  parser.AddSection("Calls");
  parser.Add("rate", "RATE", "calls a second; 2000@60+140@20: so many for so many\nseconds [10]",
             Field("rate", state));
  parser.Add("arrivals", "KIND", "poisson, or even: equal gaps [poisson]",
             Field("arrivals", state));
  parser.Choices({"poisson", "even"});
  parser.Add("tokens", "MIX",
             "N, N:WEIGHT+N:WEIGHT, bimodal:SHORT:LONG (95/5),\n"
             "lognormal:MEDIAN:SIGMA[:LONGEST], uniform:A:B [512]",
             Field("tokens", state));
  parser.Add("deadline", "SECONDS", "of each call, from when it was due; or none [none]",
             Field("deadline", state));
  parser.Add("priority", "CLASS", "interactive or batch [interactive]", Field("priority", state));
  parser.Choices({"interactive", "batch"});
  parser.Add("tenant", "NAME", "where no key tells it", Field("tenant", state));
  parser.Add("metadata", "KEY:VALUE", "to send with every call; may be repeated",
             Field("metadata", state));
  parser.Add("documents", "N", "different contents for each length [16]",
             Field("documents", state));
  parser.Add("cancel", "SHARE@S", "cancel this share of the calls within S seconds",
             Field("cancel", state));
  parser.Add("group", "FIELDS",
             "a group of calls with its own figures, as in\n"
             "name=a,rate=10,tokens=128,deadline=0.1; fields: the\n"
             "options above, and api_key_file, else as above.\nMay be repeated",
             [state](absl::string_view value) {
               state->groups.emplace_back(value);
               return absl::OkStatus();
             });
}

void AddRunOptions(OptionParser& parser, LoadParsing* state) {
  LoadArguments& arguments = state->arguments;
  parser.AddSection("Run");
  parser.Add("seconds", "S", "how long a rate without @ lasts [10]",
             Number(0.01, kMaxSeconds, &state->seconds));
  parser.Add("warmup", "S", "calls due before are not counted\n[a tenth of the time, at most 10]",
             Number(0, kMaxSeconds, &state->warmup));
  parser.AddNumber("count", "at most so many calls [all that are due]", 1, load::kMaxPlannedCalls,
                   [&arguments](int64_t n) { arguments.max_calls = n; });
  parser.AddNumber("seed", "of arrivals, lengths and contents [1]", 0,
                   std::numeric_limits<int64_t>::max(),
                   [&arguments](int64_t n) { arguments.seed = static_cast<uint64_t>(n); });
  parser.AddFlag("find-capacity",
                 "measure step by step, each as long as the rates\nlast, for the highest goodput",
                 &arguments.find_capacity);
  parser.AddFlag("retries", "retry as the service config says", &arguments.retries);
  parser.AddFlag("allow-model-change", "replies may come from different models, each\nconsistent",
                 &arguments.allow_model_change);
}

void AddLimitOptions(OptionParser& parser, LoadParsing* state) {
  LoadArguments& arguments = state->arguments;
  parser.AddSection("Validity");
  parser.Add("max-lateness", "S", "p99 of how late calls are sent [0.005]",
             Number(1e-6, kMaxSeconds, &arguments.limits.max_lateness_seconds));
  parser.Add("max-backlog", "SHARE",
             "of the calls without a deadline, in flight at the\nend of sending [0.1]",
             Number(0, 1, &arguments.limits.max_backlog_share));
  parser.Add("drain", "S", "how long to wait for what is in flight [30]",
             Number(0, kMaxSeconds, &arguments.run.drain_seconds));
  parser.AddNumber("max-in-flight", "calls beyond are not sent [100000]", 1, 10'000'000,
                   [&arguments](int64_t n) { arguments.run.max_in_flight = n; });
}

void AddServerOptions(OptionParser& parser, LoadParsing* state) {
  LoadArguments& arguments = state->arguments;
  const auto add_target = [&arguments](absl::string_view value) {
    arguments.targets.emplace_back(value);
    return absl::OkStatus();
  };
  parser.AddSection("Server");
  parser.Add("target", "ADDRESS",
             absl::StrCat("host:port [", kDefaultServer,
                          "]; may be repeated:\nnumeric addresses, round robin"),
             add_target);
  parser.Add("server", "ADDRESS", "the same", add_target);
  AddAccess(parser, &arguments.access);
  parser.AddText("model", "NAME", "model [the server's default]", &arguments.model);
  parser.AddText("model-version", "VERSION", "its version [the server's default]",
                 &arguments.model_version);
  parser.AddNumber("connections", "connections, used in turn [4]", 1, 1000,
                   [&arguments](int64_t n) { arguments.connections = static_cast<int>(n); });
}

void AddReportOptions(OptionParser& parser, LoadParsing* state) {
  LoadArguments& arguments = state->arguments;
  parser.AddSection("Output");
  parser.AddFlag("json", "the report as one JSON object", &arguments.json);
  parser.AddFlag("distribution", "the whole distribution of latencies in the text",
                 &arguments.distribution);
  parser.Add("interval", "S", "width of the intervals in the JSON [1]",
             Number(0.01, kMaxSeconds, &arguments.interval_seconds));
  parser.AddFlag("quiet", "no progress", &arguments.quiet);
}

OptionParser LoadParser(LoadParsing* state) {
  OptionParser parser;
  AddTrafficOptions(parser, state);
  AddRunOptions(parser, state);
  AddLimitOptions(parser, state);
  AddServerOptions(parser, state);
  AddReportOptions(parser, state);
  return parser;
}

absl::StatusOr<LoadGroup> DefaultGroup(const LoadParsing& state) {
  LoadGroup group;
  for (const auto& [field, value] : {std::pair<const char*, const char*>{"rate", "10"},
                                     std::pair<const char*, const char*>{"tokens", "512"}}) {
    absl::Status set = SetGroupField(field, value, state.seconds, &group);
    if (!set.ok()) return set;
  }
  for (const auto& [field, value] : state.fields) {
    absl::Status set = SetGroupField(field, value, state.seconds, &group);
    if (!set.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--", field, " ", value, ": ", set.message()));
    }
  }
  return group;
}

absl::Status SetGroups(LoadParsing* state) {
  auto otherwise = DefaultGroup(*state);
  if (!otherwise.ok()) return otherwise.status();
  LoadArguments& arguments = state->arguments;
  if (state->groups.empty()) arguments.groups.push_back(*otherwise);
  for (const std::string& spec : state->groups) {
    LoadGroup named = *otherwise;
    named.name = absl::StrCat("group", arguments.groups.size() + 1);
    auto group = ParseGroup(spec, state->seconds, std::move(named));
    if (!group.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--group ", group.status().message()));
    }
    arguments.groups.push_back(*std::move(group));
  }
  // A group's number travels in 16 bits; nobody reads so many reports.
  if (arguments.groups.size() > 1000) return absl::InvalidArgumentError("more than 1000 groups");
  return absl::OkStatus();
}

absl::Status Complete(LoadParsing* state) {
  LoadArguments& arguments = state->arguments;
  if (arguments.targets.empty()) arguments.targets = {kDefaultServer};
  std::vector<load::Traffic> traffic;
  double longest_deadline = 0;
  for (const LoadGroup& group : arguments.groups) {
    traffic.push_back(group.traffic);
    longest_deadline = std::max(longest_deadline, group.calls.deadline_seconds);
  }
  const bool bounded = std::isfinite(longest_deadline);
  if (arguments.find_capacity && !bounded) {
    return absl::InvalidArgumentError(
        "--find-capacity needs a --deadline: without one every call is good in the end");
  }
  const double total = load::ScheduleSeconds(traffic);
  if (arguments.find_capacity && total < kDeadlinesPerStep * longest_deadline) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--find-capacity needs steps of ", kDeadlinesPerStep,
        " deadlines at least, or what waits at the end of a step passes for capacity"));
  }
  arguments.warmup_seconds = state->warmup >= 0 ? state->warmup : std::min(10.0, 0.1 * total);
  if (arguments.warmup_seconds >= total) {
    return absl::InvalidArgumentError("--warmup leaves no time to measure");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadArguments> ParseLoad(absl::Span<const std::string> arguments) {
  LoadParsing state;
  const auto others = LoadParser(&state).Parse(arguments);
  if (!others.ok()) return others.status();
  if (!others->empty()) {
    return absl::InvalidArgumentError("unexpected argument " + others->front());
  }
  if (absl::Status set = SetGroups(&state); !set.ok()) return set;
  if (absl::Status complete = Complete(&state); !complete.ok()) return complete;
  return std::move(state.arguments);
}

std::vector<OptionInfo> LoadOptionInfos() {
  LoadParsing state;
  return LoadParser(&state).Describe();
}

}  // namespace longwave::cli
