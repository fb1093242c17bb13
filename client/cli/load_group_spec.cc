#include "client/cli/load_group_spec.h"

#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/names.h"

namespace longwave::cli {
namespace {

constexpr double kMaxRate = 1e6;
constexpr double kMaxSeconds = 7 * 86400;
constexpr uint32_t kMaxDocuments = 65536;

bool ParseNumber(absl::string_view text, double least, double most, double* value) {
  return absl::SimpleAtod(text, value) && *value >= least && *value <= most;
}

// "2000@60+140@20", or "200" for all the time.
absl::Status SetRate(absl::string_view value, double phase_seconds, LoadGroup* group) {
  std::vector<load::RatePhase> phases;
  for (const absl::string_view part : absl::StrSplit(value, '+')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(part, '@');
    load::RatePhase phase{0, phase_seconds};
    if (fields.size() > 2 || !ParseNumber(fields[0], 0, kMaxRate, &phase.calls_per_second) ||
        (fields.size() == 2 && !ParseNumber(fields[1], 0, kMaxSeconds, &phase.seconds))) {
      return absl::InvalidArgumentError(
          "is neither a number of calls a second nor a list like 2000@60+140@20");
    }
    phases.push_back(phase);
  }
  group->traffic.phases = std::move(phases);
  return absl::OkStatus();
}

absl::Status SetArrivals(absl::string_view value, LoadGroup* group) {
  if (value != "poisson" && value != "even") {
    return absl::InvalidArgumentError("is neither poisson nor even");
  }
  group->traffic.arrivals = value == "even" ? load::Arrivals::kEven : load::Arrivals::kPoisson;
  return absl::OkStatus();
}

absl::Status SetTokens(absl::string_view value, LoadGroup* group) {
  auto mix = load::LengthMix::Parse(value);
  if (mix.ok()) group->traffic.lengths = *std::move(mix);
  return mix.status();
}

absl::Status SetDeadline(absl::string_view value, LoadGroup* group) {
  if (value == "none") {
    group->calls.deadline_seconds = std::numeric_limits<double>::infinity();
    return absl::OkStatus();
  }
  if (ParseNumber(value, 1e-6, kMaxSeconds, &group->calls.deadline_seconds)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("is neither a number of seconds above 0 nor none");
}

absl::Status SetCancel(absl::string_view value, LoadGroup* group) {
  const std::vector<absl::string_view> fields = absl::StrSplit(value, '@');
  if (fields.size() == 2 && ParseNumber(fields[0], 0, 1, &group->traffic.cancel_share) &&
      ParseNumber(fields[1], 0, kMaxSeconds, &group->traffic.cancel_within_seconds)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("is not a share of the calls @ seconds, like 0.5@0.01");
}

absl::Status SetPriority(absl::string_view value, LoadGroup* group) {
  const auto priority = ParsePriority(value);
  if (!priority.ok()) return priority.status();
  group->calls.priority = *priority;
  group->priority = std::string(value);
  return absl::OkStatus();
}

absl::Status SetDocuments(absl::string_view value, LoadGroup* group) {
  uint32_t documents = 0;
  if (!absl::SimpleAtoi(value, &documents) || documents < 1 || documents > kMaxDocuments) {
    return absl::InvalidArgumentError(absl::StrCat("is not a number from 1 to ", kMaxDocuments));
  }
  group->traffic.documents = documents;
  return absl::OkStatus();
}

// The key itself never appears in an argument: arguments are seen by every process.
absl::Status SetApiKeyFile(absl::string_view value, LoadGroup* group) {
  auto key = ReadApiKeyFile("api_key_file", std::string(value));
  if (key.ok()) group->calls.api_key = *std::move(key);
  return key.status();
}

absl::Status AddMetadata(absl::string_view value, LoadGroup* group) {
  const std::pair<absl::string_view, absl::string_view> field =
      absl::StrSplit(value, absl::MaxSplits(':', 1));
  if (field.first.empty() || field.second.empty()) {
    return absl::InvalidArgumentError("is not KEY:VALUE");
  }
  group->calls.metadata.emplace_back(absl::AsciiStrToLower(field.first), field.second);
  return absl::OkStatus();
}

}  // namespace

absl::Status SetGroupField(absl::string_view field, absl::string_view value, double phase_seconds,
                           LoadGroup* group) {
  if (field == "name") {
    group->name = std::string(value);
    return absl::OkStatus();
  }
  if (field == "tenant") {
    group->calls.tenant = std::string(value);
    return absl::OkStatus();
  }
  if (field == "rate") return SetRate(value, phase_seconds, group);
  if (field == "tokens") return SetTokens(value, group);
  if (field == "arrivals") return SetArrivals(value, group);
  if (field == "deadline") return SetDeadline(value, group);
  if (field == "priority") return SetPriority(value, group);
  if (field == "documents") return SetDocuments(value, group);
  if (field == "cancel") return SetCancel(value, group);
  if (field == "api_key_file") return SetApiKeyFile(value, group);
  if (field == "metadata") return AddMetadata(value, group);
  return absl::InvalidArgumentError(
      "is no field of a group: name, rate, arrivals, tokens, deadline, priority, tenant, "
      "documents, cancel, "
      "api_key_file, metadata");
}

absl::StatusOr<LoadGroup> ParseGroup(absl::string_view spec, double phase_seconds,
                                     LoadGroup otherwise) {
  for (const absl::string_view part : absl::StrSplit(spec, ',')) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    // Also because an empty view splits into no part at all.
    if (field.second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(part, ": is not FIELD=VALUE"));
    }
    const absl::Status set = SetGroupField(field.first, field.second, phase_seconds, &otherwise);
    if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat(part, ": ", set.message()));
  }
  return otherwise;
}

}  // namespace longwave::cli
