#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/cli/command_table.h"

namespace longwave::cli {
namespace {

constexpr size_t kColumns = 79;

std::string ExitCodes() {
  std::string text = "Exit codes:";
  size_t column = text.size();
  for (const ExitCodeInfo& each : ExitCodeTable()) {
    std::string words = absl::StrCat(static_cast<int>(each.code), " ", each.meaning);
    words.append(each.code == kExitWrongReplies ? "." : ",");
    for (const absl::string_view word : absl::StrSplit(words, ' ')) {
      const bool fits = column + 1 + word.size() <= kColumns;
      column = fits ? column + 1 + word.size() : word.size();
      absl::StrAppend(&text, fits ? " " : "\n", word);
    }
  }
  return text + "\n";
}

std::string ProgramHelp() {
  std::string text = "usage: longwave COMMAND [OPTIONS] [INPUTS]\n\n";
  for (const CommandInfo& command : CommandTable()) {
    absl::StrAppendFormat(&text, "  %-11s%s\n", command.name, command.summary);
  }
  absl::StrAppend(&text, "\n  --version  the program's version\n\n", ExitCodes());
  return text;
}

}  // namespace

std::string HelpText(absl::string_view subcommand) {
  for (const CommandInfo& command : CommandTable()) {
    if (command.name != subcommand) continue;
    const std::string options = FormatOptions(command.options);
    return options.empty() ? command.usage : absl::StrCat(command.usage, "\n", options);
  }
  return ProgramHelp();
}

}  // namespace longwave::cli
