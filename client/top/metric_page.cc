#include "client/top/metric_page.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace longwave::top {
namespace {

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '_' || c == ':'; }

absl::string_view TakeName(absl::string_view* rest) {
  size_t end = 0;
  while (end < rest->size() && IsNameCharacter((*rest)[end])) ++end;
  const absl::string_view name = rest->substr(0, end);
  rest->remove_prefix(end);
  return name;
}

// A string in quotes, with \\, \" and \n in it.
bool TakeString(absl::string_view* rest, std::string* text) {
  if (!absl::ConsumePrefix(rest, "\"")) return false;
  while (!rest->empty() && rest->front() != '"') {
    char c = rest->front();
    rest->remove_prefix(1);
    if (c == '\\') {
      if (rest->empty()) return false;
      c = rest->front() == 'n' ? '\n' : rest->front();
      rest->remove_prefix(1);
    }
    text->push_back(c);
  }
  return absl::ConsumePrefix(rest, "\"");
}

bool TakeLabels(absl::string_view* rest, Labels* labels) {
  if (!absl::ConsumePrefix(rest, "{")) return true;
  while (!absl::ConsumePrefix(rest, "}")) {
    const std::string name(TakeName(rest));
    std::string value;
    if (name.empty() || !absl::ConsumePrefix(rest, "=") || !TakeString(rest, &value)) return false;
    (*labels)[name] = value;
    if (absl::ConsumePrefix(rest, ",")) continue;
    if (!absl::ConsumePrefix(rest, "}")) return false;
    break;
  }
  return true;
}

bool Fits(const Labels& labels, const Labels& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&labels](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

}  // namespace

absl::StatusOr<MetricPage> MetricPage::Parse(absl::string_view text) {
  MetricPage page;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty() || line.front() == '#') continue;
    absl::string_view rest = line;
    const std::string name(TakeName(&rest));
    MetricSample sample;
    const bool labelled = !name.empty() && TakeLabels(&rest, &sample.labels);
    // A time may follow the value.
    const std::vector<absl::string_view> words =
        absl::StrSplit(rest, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (!labelled || words.empty() || words.size() > 2 ||
        !absl::SimpleAtod(words[0], &sample.value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", number, " is no sample of a metric: ", line.substr(0, 60)));
    }
    page.samples_[name].push_back(std::move(sample));
  }
  return page;
}

const std::vector<MetricSample>& MetricPage::samples(const std::string& name) const {
  static const std::vector<MetricSample>* const kNone = new std::vector<MetricSample>();
  const auto found = samples_.find(name);
  return found == samples_.end() ? *kNone : found->second;
}

std::optional<double> MetricPage::Sum(const std::string& name, const Labels& labels) const {
  std::optional<double> sum;
  for (const MetricSample& sample : samples(name)) {
    if (Fits(sample.labels, labels)) sum = sum.value_or(0) + sample.value;
  }
  return sum;
}

Buckets MetricPage::Histogram(const std::string& name, const Labels& labels) const {
  Buckets buckets;
  for (const MetricSample& sample : samples(name + "_bucket")) {
    const auto edge = sample.labels.find("le");
    double le = 0;
    if (edge == sample.labels.end() || !absl::SimpleAtod(edge->second, &le)) continue;
    if (std::isnan(le)) continue;  // it has no place among the others
    if (Fits(sample.labels, labels)) buckets[le] += sample.value;
  }
  return buckets;
}

}  // namespace longwave::top
