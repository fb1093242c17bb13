#include "client/cli/load_command.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/error_text.h"
#include "client/cli/printable.h"

namespace longwave::cli {
namespace {

// Mean rate of a group over the time that counts.
double MeanRate(const load::Traffic& traffic, double from) {
  double begin = 0;
  double calls = 0;
  double seconds = 0;
  for (const load::RatePhase& phase : traffic.phases) {
    const double counted = std::max(0.0, begin + phase.seconds - std::max(begin, from));
    calls += counted * phase.calls_per_second;
    seconds += counted;
    begin += phase.seconds;
  }
  return seconds > 0 ? calls / seconds : 0;
}

double GoodPerSecond(const load::LoadResult& result) {
  return static_cast<double>(load::Total(result).good) / result.seconds;
}

double OfferedPerSecond(const load::LoadResult& result) {
  return static_cast<double>(load::Total(result).offered) / result.seconds;
}

double GoodTokensPerSecond(const load::LoadResult& result) {
  return static_cast<double>(load::Total(result).good_tokens) / result.seconds;
}

// How to speak to the targets. Keys of groups are bound by the same rules as the program's own.
absl::Status ReadAccessOf(const LoadArguments& arguments, load::GrpcSenderOptions* options) {
  for (const std::string& target : arguments.targets) {
    auto read = ReadAccess(target, arguments.access);
    if (!read.ok()) return read.status();
    options->credentials = read->credentials;
    options->tls_server_name = read->tls_server_name;
    options->api_key = read->api_key;
    for (const LoadGroup& group : arguments.groups) {
      AccessArguments access = arguments.access;
      access.api_key_file.clear();
      access.api_key = group.calls.api_key;
      read = ReadAccess(target, access);
      if (!read.ok()) return read.status();
    }
  }
  return absl::OkStatus();
}

}  // namespace

LoadCommand::LoadCommand(LoadArguments arguments, std::ostream& out, std::ostream& err)
    : arguments_(std::move(arguments)),
      out_(out),
      err_(err),
      progress_(stderr, !arguments_.quiet) {}

ExitCode LoadCommand::Run() {
  if (const ExitCode connected = Connect(); connected != kExitOk) return connected;
  return arguments_.find_capacity ? FindCapacity() : MeasureOnce();
}

ExitCode LoadCommand::Connect() {
  load::GrpcSenderOptions options;
  if (absl::Status read = ReadAccessOf(arguments_, &options); !read.ok()) {
    err_ << "longwave load: " << read.message() << "\n";
    return kExitUsage;
  }
  options.targets = arguments_.targets;
  options.model = arguments_.model;
  options.model_version = arguments_.model_version;
  options.retries = arguments_.retries;
  options.connections = arguments_.connections;
  options.seed = arguments_.seed;
  for (const LoadGroup& group : arguments_.groups) options.groups.push_back(group.calls);
  auto sender = load::GrpcSender::Create(std::move(options));
  if (!sender.ok()) {
    const std::string targets = absl::StrJoin(arguments_.targets, ", ");
    err_ << "longwave: " << DescribeError(sender.status(), targets) << "\n";
    return absl::IsInvalidArgument(sender.status()) ? kExitUsage : ExitCodeOf(sender.status());
  }
  sender_ = *std::move(sender);
  const uint32_t longest = sender_->model().max_tokens();
  for (const LoadGroup& group : arguments_.groups) {
    if (group.traffic.lengths.longest() <= longest) continue;
    err_ << "longwave load: group " << group.name << ": --tokens " << group.traffic.lengths.text()
         << " may be longer than the model's limit of " << longest << "\n";
    return kExitUsage;
  }
  return kExitOk;
}

double LoadCommand::TotalRate() const {
  double total = 0;
  for (const LoadGroup& group : arguments_.groups) {
    total += MeanRate(group.traffic, arguments_.warmup_seconds);
  }
  return total;
}

absl::StatusOr<load::LoadReport> LoadCommand::Measure(double scale) {
  std::vector<load::Traffic> traffic;
  std::vector<double> deadlines;
  load::LoadReport report;
  for (const LoadGroup& group : arguments_.groups) {
    traffic.push_back(group.traffic);
    for (load::RatePhase& phase : traffic.back().phases) phase.calls_per_second *= scale;
    deadlines.push_back(group.calls.deadline_seconds);
    report.groups.push_back({group.name, MeanRate(traffic.back(), arguments_.warmup_seconds),
                             group.traffic.lengths.text(), group.calls.deadline_seconds,
                             group.priority, group.calls.tenant});
  }
  const auto calls = load::MakeSchedule(traffic, arguments_.seed, arguments_.max_calls);
  if (!calls.ok()) return calls.status();
  // --count may end the run early; rates are over the time that was used.
  double seconds = load::ScheduleSeconds(traffic);
  if (static_cast<int64_t>(calls->size()) == arguments_.max_calls && !calls->empty()) {
    seconds = std::min(seconds, std::nextafter(calls->back().due_seconds, seconds));
  }

  progress_.Start(absl::StrFormat("%.4g calls/s", TotalRate() * scale));
  load::RunOptions options = arguments_.run;
  options.progress = [this](double share) { progress_.SetFraction(share); };
  load::SteadyLoadClock clock;
  load::Recorder recorder(
      {deadlines, arguments_.warmup_seconds, seconds, arguments_.interval_seconds}, *calls, &clock);
  sender_->Use(&recorder, &clock);
  load::RunSchedule(*calls, seconds, options, sender_.get(), &recorder, &clock);
  progress_.Clear();

  report.targets = arguments_.targets;
  report.model = sender_->model().name();
  report.device = sender_->model().device();
  report.seed = arguments_.seed;
  report.warmup_seconds = arguments_.warmup_seconds;
  report.retries = arguments_.retries;
  report.result = recorder.Take();
  report.problems = load::ValidityProblems(report.result, arguments_.limits, report.groups);
  return report;
}

ExitCode LoadCommand::Judge(const load::LoadReport& report) {
  for (const std::string& problem : report.problems) {
    err_ << "longwave load: not valid: " << problem << "\n";
  }
  if (!report.problems.empty()) return kExitInvalid;
  const int64_t wrong = load::Total(report.result).wrong;
  const bool mixed = report.result.models.size() > 1 && !arguments_.allow_model_change;
  if (wrong > 0) {
    err_ << "longwave load: " << wrong << " replies differ from earlier ones to the same ids\n";
  }
  if (mixed) {
    err_ << "longwave load: replies come from " << report.result.models.size()
         << " models (digest and fingerprint): " << absl::StrJoin(report.result.models, "; ")
         << "\n";
  }
  return wrong > 0 || mixed ? kExitWrongReplies : kExitOk;
}

ExitCode LoadCommand::MeasureOnce() {
  const auto report = Measure(1);
  if (!report.ok()) {
    err_ << "longwave load: " << report.status().message() << "\n";
    return kExitUsage;
  }
  if (arguments_.json) {
    out_ << load::FormatLoadJson(*report);
  } else if (report->problems.empty()) {
    out_ << PrintableLines(load::FormatLoadText(*report, arguments_.distribution));
  }
  return Judge(*report);
}

ExitCode LoadCommand::FindCapacity() {
  const double first_rate = TotalRate();
  if (first_rate <= 0) {
    err_ << "longwave load: --find-capacity needs a rate above 0 to begin with\n";
    return kExitUsage;
  }
  load::CapacitySearch search(first_rate);
  std::vector<Step> steps;
  while (const std::optional<double> rate = search.NextRate()) {
    auto report = Measure(*rate / first_rate);
    if (!report.ok()) {
      err_ << "longwave load: " << report.status().message() << "\n";
      return kExitUsage;
    }
    const ExitCode judged = Judge(*report);
    if (judged != kExitOk) return judged;
    search.Add(OfferedPerSecond(report->result), GoodPerSecond(report->result));
    steps.push_back({*rate, *std::move(report)});
  }
  if (search.Capacity() <= 0) {
    err_ << "longwave load: not valid: no rate was answered within the deadline\n";
    return kExitInvalid;
  }
  PrintCapacity(search, steps);
  return kExitOk;
}

void LoadCommand::PrintCapacity(const load::CapacitySearch& search,
                                const std::vector<Step>& steps) {
  const auto end = std::min_element(
      steps.end() - load::CapacitySearch::kRepeats, steps.end(), [&](const Step& a, const Step& b) {
        const auto distance = [&](const Step& step) {
          return std::abs(GoodPerSecond(step.report.result) - search.Capacity());
        };
        return distance(a) < distance(b);
      });
  const double tokens = GoodTokensPerSecond(end->report.result);
  if (!arguments_.json) {
    for (const Step& step : steps) {
      out_ << absl::StrFormat("offered %9.2f/s  good %9.2f/s\n",
                              OfferedPerSecond(step.report.result),
                              GoodPerSecond(step.report.result));
    }
    out_ << absl::StrFormat(
        "capacity %.2f calls/s, %.0f tokens/s; spread of the last %d: %.1f %%\n", search.Capacity(),
        tokens, load::CapacitySearch::kRepeats, search.Spread() * 100);
    return;
  }
  nlohmann::ordered_json json;
  json["valid"] = true;
  json["capacity_per_second"] = search.Capacity();
  json["capacity_tokens_per_second"] = tokens;
  json["spread"] = search.Spread();
  json["steps"] = nlohmann::ordered_json::array();
  for (const Step& step : steps) {
    const load::GroupResult total = load::Total(step.report.result);
    json["steps"].push_back({{"planned_per_second", step.rate},
                             {"offered_per_second", OfferedPerSecond(step.report.result)},
                             {"goodput_per_second", GoodPerSecond(step.report.result)},
                             {"p50_ms", total.latency.Percentile(50) * 1e3},
                             {"p99_ms", total.latency.Percentile(99) * 1e3}});
  }
  out_ << json.dump() << "\n";
}

}  // namespace longwave::cli
