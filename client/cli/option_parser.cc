#include "client/cli/option_parser.h"

#include <cstdint>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longwave::cli {
namespace {

constexpr size_t kHelpColumn = 28;

}  // namespace

void OptionParser::Add(absl::string_view name, absl::string_view value_name, absl::string_view help,
                       Setter set) {
  options_.push_back(
      {{absl::StrCat("--", name), std::string(value_name), std::string(help), {}}, std::move(set)});
}

void OptionParser::AddText(absl::string_view name, absl::string_view value_name,
                           absl::string_view help, std::string* target) {
  Add(name, value_name, help, [target](absl::string_view value) {
    *target = std::string(value);
    return absl::OkStatus();
  });
}

void OptionParser::AddNumber(absl::string_view name, absl::string_view help, int64_t minimum,
                             int64_t maximum, std::function<void(int64_t)> set) {
  Add(name, "N", help, [minimum, maximum, set = std::move(set)](absl::string_view value) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(value, &number) || number < minimum || number > maximum) {
      return absl::InvalidArgumentError(
          absl::StrCat("is not a whole number from ", minimum, " to ", maximum));
    }
    set(number);
    return absl::OkStatus();
  });
}

void OptionParser::AddFlag(absl::string_view name, absl::string_view help, bool* target) {
  Add(name, "", help, [target](absl::string_view) {
    *target = true;
    return absl::OkStatus();
  });
}

void OptionParser::AddSection(absl::string_view title) {
  options_.push_back({{"", "", std::string(title), {}}, nullptr});
}

const OptionParser::Option* OptionParser::Find(absl::string_view name) const {
  for (const Option& option : options_) {
    if (!option.info.name.empty() && option.info.name == name) return &option;
  }
  return nullptr;
}

absl::StatusOr<std::vector<std::string>> OptionParser::Parse(
    absl::Span<const std::string> arguments) const {
  std::vector<std::string> others;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--") {
      others.insert(others.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (argument.size() < 2 || argument[0] != '-') {
      others.push_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const Option* option = Find(name);
    if (option == nullptr) return absl::InvalidArgumentError(absl::StrCat("unknown option ", name));
    const bool takes_value = !option->info.value_name.empty();
    if (!takes_value && equals != std::string::npos) {
      return absl::InvalidArgumentError(absl::StrCat(name, " takes no value"));
    }
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (takes_value) {
      if (++i == arguments.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, " needs a value: ", option->info.value_name));
      }
      value = arguments[i];
    }
    if (absl::Status set = option->set(value); !set.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, " ", value, ": ", set.message()));
    }
  }
  return others;
}

std::vector<OptionInfo> OptionParser::Describe() const {
  std::vector<OptionInfo> infos;
  for (const Option& option : options_) infos.push_back(option.info);
  return infos;
}

std::string FormatOptions(absl::Span<const OptionInfo> options) {
  std::string text;
  for (const OptionInfo& option : options) {
    if (option.name.empty()) {
      absl::StrAppend(&text, text.empty() ? "" : "\n", option.help, ":\n");
      continue;
    }
    std::string line =
        absl::StrCat("  ", option.name, option.value_name.empty() ? "" : " ", option.value_name);
    for (absl::string_view part : absl::StrSplit(option.help, '\n')) {
      if (line.size() + 2 > kHelpColumn) {
        absl::StrAppend(&text, line, "\n");
        line.clear();
      }
      line.resize(kHelpColumn, ' ');
      absl::StrAppend(&text, line, part, "\n");
      line.clear();
    }
  }
  return text;
}

}  // namespace longwave::cli
