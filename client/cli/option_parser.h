#ifndef LONGWAVE_CLIENT_CLI_OPTION_PARSER_H_
#define LONGWAVE_CLIENT_CLI_OPTION_PARSER_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longwave::cli {

// One option as it is told of, in help, manual and completion.
struct OptionInfo {
  std::string name;                  // with dashes; empty: a section
  std::string value_name;            // empty: a flag; FILE: a path
  std::string help;                  // of a section: its title
  std::vector<std::string> choices;  // what the value may be, for completion; empty: anything
};

// The help of options, one or more lines each.
std::string FormatOptions(absl::Span<const OptionInfo> options);

// The options of one subcommand: parses them and describes them, from one list.
class OptionParser {
 public:
  using Setter = std::function<absl::Status(absl::string_view value)>;

  // `--name VALUE` or `--name=VALUE`; `value_name` is what the help calls the value.
  void Add(absl::string_view name, absl::string_view value_name, absl::string_view help,
           Setter set);
  // The same for common kinds of value.
  void AddText(absl::string_view name, absl::string_view value_name, absl::string_view help,
               std::string* target);
  // Precondition: minimum <= maximum.
  void AddNumber(absl::string_view name, absl::string_view help, int64_t minimum, int64_t maximum,
                 std::function<void(int64_t)> set);
  // `--name`, without value.
  void AddFlag(absl::string_view name, absl::string_view help, bool* target);
  // What the value of the option added last may be.
  void Choices(std::vector<std::string> words) { options_.back().info.choices = std::move(words); }
  // A headline in the help above the options that follow.
  void AddSection(absl::string_view title);

  // Calls the setters in the order of the arguments and returns what is not an option. "-" and
  // everything behind "--" are not options.
  absl::StatusOr<std::vector<std::string>> Parse(absl::Span<const std::string> arguments) const;
  // The options in the order in which they were added.
  std::vector<OptionInfo> Describe() const;

 private:
  struct Option {
    OptionInfo info;
    Setter set;
  };
  const Option* Find(absl::string_view name) const;

  std::vector<Option> options_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_OPTION_PARSER_H_
