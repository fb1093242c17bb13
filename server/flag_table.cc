#include "server/flag_table.h"

#include <charconv>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "server/observability/safe_text.h"

namespace longwave {
namespace {

using Setter = std::function<std::string(absl::string_view)>;

template <typename Integer>
Setter IntegerSetter(Integer* field) {
  return [field](absl::string_view text) -> std::string {
    return absl::SimpleAtoi(text, field) ? "" : "a whole number";
  };
}

bool ReadDouble(absl::string_view text, double* value) {
  return absl::SimpleAtod(text, value) && std::isfinite(*value);
}

bool ReadBool(absl::string_view text, bool* value) { return absl::SimpleAtob(text, value); }

}  // namespace

void FlagTable::Add(const char* name, std::string* field, const char* help) {
  AddFlag({.name = name,
           .value_name = "TEXT",
           .default_text = field->empty() ? "none" : *field,
           .help = help,
           .set = [field](absl::string_view text) -> std::string {
             *field = std::string(text);
             return "";
           }});
}

void FlagTable::Add(const char* name, int* field, const char* help) {
  AddFlag({.name = name,
           .value_name = "N",
           .default_text = absl::StrCat(*field),
           .help = help,
           .set = IntegerSetter(field)});
}

void FlagTable::Add(const char* name, int64_t* field, const char* help) {
  AddFlag({.name = name,
           .value_name = "N",
           .default_text = absl::StrCat(*field),
           .help = help,
           .set = IntegerSetter(field)});
}

void FlagTable::Add(const char* name, double* field, const char* help) {
  AddFlag({.name = name,
           .value_name = "X",
           .default_text = absl::StrCat(*field),
           .help = help,
           .set = [field](absl::string_view text) -> std::string {
             return ReadDouble(text, field) ? "" : "a number";
           }});
}

void FlagTable::Add(const char* name, bool* field, const char* help) {
  AddFlag({.name = name,
           .default_text = *field ? "true" : "false",
           .help = help,
           .set = [field](absl::string_view text) -> std::string {
             return ReadBool(text, field) ? "" : "true or false";
           }});
}

void FlagTable::Add(const char* name, std::optional<bool>* field, const char* default_text,
                    const char* help) {
  AddFlag({.name = name,
           .default_text = default_text,
           .help = help,
           .set = [field](absl::string_view text) -> std::string {
             return ReadBool(text, &field->emplace()) ? "" : "true or false";
           }});
}

void FlagTable::Add(const char* name, std::optional<double>* field, const char* default_text,
                    const char* help) {
  AddFlag({.name = name,
           .value_name = "X",
           .default_text = default_text,
           .help = help,
           .set = [field](absl::string_view text) -> std::string {
             return ReadDouble(text, &field->emplace()) ? "" : "a number";
           }});
}

FlagTable::Flag* FlagTable::Find(absl::string_view name) {
  const std::string canonical = absl::StrReplaceAll(name, {{"-", "_"}});
  for (Flag& flag : flags_) {
    if (flag.name == canonical) return &flag;
  }
  return nullptr;
}

std::vector<std::string> FlagTable::Parse(const std::vector<std::string>& arguments) {
  std::vector<std::string> problems;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view rest = arguments[i];
    if (!absl::ConsumePrefix(&rest, "--") || rest.empty()) {
      problems.push_back(absl::StrCat("'", SafeText(arguments[i]), "' is not a flag"));
      continue;
    }
    const size_t equals = rest.find('=');
    const absl::string_view name = rest.substr(0, equals);
    std::optional<std::string> value;
    if (equals != absl::string_view::npos) value = std::string(rest.substr(equals + 1));
    Flag* flag = Find(name);
    if (flag == nullptr && !value.has_value()) {
      absl::string_view negated = name;
      if (absl::ConsumePrefix(&negated, "no-") || absl::ConsumePrefix(&negated, "no_")) {
        flag = Find(negated);
        if (flag != nullptr && !flag->value_name.empty()) flag = nullptr;
        value = "false";
      }
    }
    if (flag == nullptr) {
      problems.push_back(absl::StrCat("--", SafeText(name), ": unknown flag"));
      continue;
    }
    if (!value.has_value() && flag->value_name.empty()) value = "true";
    if (!value.has_value() && i + 1 < arguments.size()) value = arguments[++i];
    if (!value.has_value()) {
      problems.push_back(absl::StrCat("--", flag->name, ": no value"));
    } else if (std::exchange(flag->given, true)) {
      problems.push_back(absl::StrCat("--", flag->name, ": given more than once"));
    } else if (const std::string accepted = flag->set(*value); !accepted.empty()) {
      problems.push_back(
          absl::StrCat("--", flag->name, " = '", SafeText(*value), "': accepted is ", accepted));
    }
  }
  return problems;
}

std::string FlagTable::Help() const {
  std::string text;
  for (const Flag& flag : flags_) {
    absl::StrAppend(&text, "  --", flag.name,
                    flag.value_name.empty() ? "" : absl::StrCat("=", flag.value_name), "  (",
                    flag.default_text, ")\n      ", flag.help, "\n");
  }
  return text;
}

}  // namespace longwave
