#include "tests/simulation/schedule.h"

#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace longwave {
namespace {

constexpr std::pair<absl::string_view, Action::Kind> kActions[] = {
    {"submit", Action::Kind::kSubmit}, {"cancel", Action::Kind::kCancel},
    {"read", Action::Kind::kRead},     {"advance", Action::Kind::kAdvance},
    {"slow", Action::Kind::kSlow},     {"round", Action::Kind::kRound},
    {"drain", Action::Kind::kDrain},   {"abandon", Action::Kind::kAbandon},
};
constexpr std::pair<absl::string_view, FakeFault::Kind> kFaults[] = {
    {"out_of_memory", FakeFault::Kind::kOutOfMemory},
    {"job_error", FakeFault::Kind::kJobError},
    {"device_lost", FakeFault::Kind::kDeviceLost},
    {"non_finite_row", FakeFault::Kind::kNonFiniteRow},
};

template <typename Table, typename Kind>
absl::string_view NameOf(const Table& table, Kind kind) {
  for (const auto& [name, entry] : table) {
    if (entry == kind) return name;
  }
  return "?";
}

// Each part of a schedule names its fields once, for the writer and for the reader.

template <typename Visitor>
void Visit(SchedulerOptions& options, Visitor& visit) {
  AdmissionLimits& limits = options.admission;
  visit("max_queue_sequences", limits.max_queue_sequences);
  visit("max_queue_tokens", limits.max_queue_tokens);
  visit("max_host_bytes", limits.max_host_bytes);
  visit("max_wait_seconds", limits.max_wait_seconds);
  visit("max_batch_class_wait_seconds", limits.max_batch_class_wait_seconds);
  visit("max_job_seconds", limits.max_job_seconds);
  visit("max_batch_seconds", options.max_batch_seconds);
  visit("max_batch_tokens", options.max_batch_tokens);
  visit("max_batch_sequences", options.max_batch_sequences);
  visit("max_resident_bytes", options.max_resident_bytes);
  visit("max_paused_jobs", options.max_paused_jobs);
  visit("max_stall_seconds", options.max_stall_seconds);
}

template <typename Visitor>
void VisitEncoder(Schedule& schedule, Visitor& visit) {
  visit("time_factor", schedule.time_factor);
  visit("rows_per_offer", schedule.rows_per_offer);
  visit("out_of_memory_above_tokens", schedule.out_of_memory_above_tokens);
}

template <typename Visitor>
void Visit(FakeFault& fault, Visitor& visit) {
  visit("kind", fault.kind);
  visit("at", fault.at);
  visit("call", fault.call);
  visit("sequence", fault.sequence);
}

template <typename Visitor>
void Visit(Submission& submission, Visitor& visit) {
  visit("priority", submission.priority);
  visit("tenant", submission.tenant);
  visit("deadline", submission.deadline);
  visit("reply_bytes", submission.reply_bytes);
  visit("streamed", submission.streamed);
  visit("room", submission.room);
  visit("tokens", submission.items);
}

class Writer {
 public:
  explicit Writer(absl::string_view word) : line_(word) {}
  template <typename Field>
  void operator()(absl::string_view name, const Field& field) {
    absl::StrAppend(&line_, " ", name, "=", Text(field));
  }
  std::string line() const { return absl::StrCat(line_, "\n"); }

 private:
  static std::string Text(double value) { return absl::StrCat(value); }
  static std::string Text(int64_t value) { return absl::StrCat(value); }
  static std::string Text(int value) { return absl::StrCat(value); }
  static std::string Text(bool value) { return value ? "1" : "0"; }
  static std::string Text(const std::string& value) { return value; }
  static std::string Text(Priority value) {
    return value == Priority::kBatch ? "batch" : "interactive";
  }
  static std::string Text(FakeFault::Kind value) { return std::string(NameOf(kFaults, value)); }
  static std::string Text(FakeFault::At value) {
    return value == FakeFault::At::kBegin ? "begin" : "step";
  }
  static std::string Text(const std::vector<Submission::Item>& items) {
    std::string text;
    for (const Submission::Item& item : items) {
      absl::StrAppend(&text, text.empty() ? "" : ",", item.tokens, item.rows ? "r" : "");
    }
    return text;
  }

  std::string line_;
};

// Reads the fields of one line; one that is not there keeps its default.
class Reader {
 public:
  explicit Reader(const std::vector<absl::string_view>& words) {
    for (size_t w = 1; w < words.size(); ++w) {
      const std::pair<absl::string_view, absl::string_view> field =
          absl::StrSplit(words[w], absl::MaxSplits('=', 1));
      fields_.insert(field);
    }
  }
  template <typename Field>
  void operator()(absl::string_view name, Field& field) {
    const auto found = fields_.find(name);
    if (found == fields_.end()) return;
    right_ = Read(found->second, field) && right_;
    fields_.erase(found);
  }
  // Every field was known and could be read.
  bool right() const { return right_ && fields_.empty(); }

 private:
  static bool Read(absl::string_view text, double& value) { return absl::SimpleAtod(text, &value); }
  static bool Read(absl::string_view text, int64_t& value) {
    return absl::SimpleAtoi(text, &value);
  }
  static bool Read(absl::string_view text, int& value) { return absl::SimpleAtoi(text, &value); }
  static bool Read(absl::string_view text, bool& value) { return absl::SimpleAtob(text, &value); }
  static bool Read(absl::string_view text, std::string& value) {
    value = std::string(text);
    for (const Tenant& tenant : ScheduleTenants()) {
      if (tenant.name == value) return true;
    }
    return false;
  }
  static bool Read(absl::string_view text, Priority& value) {
    value = text == "batch" ? Priority::kBatch : Priority::kInteractive;
    return text == "batch" || text == "interactive";
  }
  static bool Read(absl::string_view text, FakeFault::Kind& value) {
    for (const auto& [name, kind] : kFaults) {
      if (name != text) continue;
      value = kind;
      return true;
    }
    return false;
  }
  static bool Read(absl::string_view text, FakeFault::At& value) {
    value = text == "begin" ? FakeFault::At::kBegin : FakeFault::At::kStep;
    return text == "begin" || text == "step";
  }
  static bool Read(absl::string_view text, std::vector<Submission::Item>& items) {
    for (absl::string_view word : absl::StrSplit(text, ',')) {
      Submission::Item item;
      item.rows = absl::ConsumeSuffix(&word, "r");
      if (!absl::SimpleAtoi(word, &item.tokens) || item.tokens < 1) return false;
      items.push_back(item);
    }
    return true;
  }

  std::map<absl::string_view, absl::string_view> fields_;
  bool right_ = true;
};

std::string ToText(Action action) {
  const absl::string_view word = NameOf(kActions, action.kind);
  switch (action.kind) {
    case Action::Kind::kSubmit: {
      Writer writer(word);
      Visit(action.submission, writer);
      return writer.line();
    }
    case Action::Kind::kCancel:
    case Action::Kind::kRead:
      return absl::StrCat(word, " ", action.number, "\n");
    case Action::Kind::kDrain:
    case Action::Kind::kAbandon:
      return absl::StrCat(word, "\n");
    default:
      return absl::StrCat(word, " ", action.seconds, "\n");
  }
}

bool ReadAction(const std::vector<absl::string_view>& words, Action& action) {
  for (const auto& [name, kind] : kActions) {
    if (name == words[0]) action.kind = kind;
  }
  if (NameOf(kActions, action.kind) != words[0]) return false;
  switch (action.kind) {
    case Action::Kind::kSubmit: {
      Reader reader(words);
      action.submission.deadline = kNoDeadline;
      Visit(action.submission, reader);
      return reader.right() && !action.submission.items.empty();
    }
    case Action::Kind::kCancel:
    case Action::Kind::kRead:
      return words.size() == 2 && absl::SimpleAtoi(words[1], &action.number) && action.number >= 0;
    case Action::Kind::kDrain:
    case Action::Kind::kAbandon:
      return words.size() == 1;
    default:
      return words.size() == 2 && absl::SimpleAtod(words[1], &action.seconds) &&
             action.seconds >= 0;
  }
}

bool ReadLine(const std::vector<absl::string_view>& words, Schedule& schedule) {
  Reader reader(words);
  if (words[0] == "options") {
    Visit(schedule.options, reader);
    return reader.right();
  }
  if (words[0] == "encoder") {
    VisitEncoder(schedule, reader);
    return reader.right();
  }
  if (words[0] == "fault") {
    Visit(schedule.faults.emplace_back(), reader);
    return reader.right();
  }
  return ReadAction(words, schedule.actions.emplace_back());
}

}  // namespace

const std::vector<Tenant>& ScheduleTenants() {
  static const auto& tenants =
      *new std::vector<Tenant>{{},
                               {.name = "large", .share = 3},
                               {.name = "limited", .max_compute_share = 0.2, .burst_seconds = 0.1}};
  return tenants;
}

std::string ToText(const Schedule& schedule) {
  Schedule copy = schedule;  // the fields are named for reading too
  Writer options("options");
  Visit(copy.options, options);
  Writer encoder("encoder");
  VisitEncoder(copy, encoder);
  std::string text = absl::StrCat(options.line(), encoder.line());
  for (FakeFault& fault : copy.faults) {
    Writer writer("fault");
    Visit(fault, writer);
    text += writer.line();
  }
  for (const Action& action : copy.actions) text += ToText(action);
  return text;
}

absl::StatusOr<Schedule> ParseSchedule(absl::string_view text) {
  Schedule schedule;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const absl::string_view content = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words = absl::StrSplit(content, ' ', absl::SkipEmpty());
    if (words.empty()) continue;
    if (!ReadLine(words, schedule)) {
      return absl::InvalidArgumentError(absl::StrCat("not a line of a schedule: ", line));
    }
  }
  return schedule;
}

}  // namespace longwave
