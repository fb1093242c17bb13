#include "client/cli/completion.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/command_table.h"

namespace longwave::cli {
namespace {

using Operands = CommandInfo::Operands;

std::vector<std::string> CommandNames() {
  std::vector<std::string> names;
  for (const CommandInfo& command : CommandTable()) names.push_back(command.name);
  return names;
}

std::vector<std::string> OperandWords(Operands operands) {
  if (operands == Operands::kCommands) return CommandNames();
  if (operands == Operands::kShells) return {"bash", "zsh", "fish"};
  return {};
}

bool TakesFile(const OptionInfo& option) { return option.value_name == "FILE"; }

// The help on one line, for shells that show it, within single quotes; `quote` is how a shell
// writes one within them.
std::string OneLine(const std::string& help, absl::string_view quote) {
  return absl::StrReplaceAll(help, {{"\n", " "}, {"'", quote}});
}
constexpr absl::string_view kZshQuote = "'\\''";
constexpr absl::string_view kFishQuote = "\\'";

// bash

std::string BashValue(const std::string& command, const OptionInfo& option) {
  return absl::StrCat("    ", command, ":", option.name, ") words='",
                      absl::StrJoin(option.choices, " "), "'", TakesFile(option) ? "; files=1" : "",
                      " ;;\n");
}

std::string BashOperands(const CommandInfo& command) {
  std::vector<std::string> options = {"--help"};
  for (const OptionInfo& option : command.options) {
    if (!option.name.empty()) options.push_back(option.name);
  }
  const std::vector<std::string> words = OperandWords(command.operands);
  return absl::StrCat("      ", command.name, ") options='", absl::StrJoin(options, " "),
                      "'; words='", absl::StrJoin(words, " "), "'",
                      command.operands == Operands::kFiles ? "; files=1" : "", " ;;\n");
}

std::string Bash() {
  std::string values;
  std::string operands;
  for (const CommandInfo& command : CommandTable()) {
    operands.append(BashOperands(command));
    for (const OptionInfo& option : command.options) {
      if (!option.value_name.empty()) values.append(BashValue(command.name, option));
    }
  }
  return absl::StrCat(R"(# Completion of longwave for bash, made by `longwave completion bash`.
_longwave() {
  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD - 1]}"
  local command="${COMP_WORDS[1]}" options='' words='' files=''
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    mapfile -t COMPREPLY < <(compgen -W ')",
                      absl::StrJoin(CommandNames(), " "), R"( --version --help' -- "$current")
    return
  fi
  # bash takes --name=value for three words.
  if [ "$current" = = ]; then
    current=''
  elif [ "$previous" = = ]; then
    previous="${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  case "$command:$previous" in
)",
                      values, R"(    *) case "$command" in
)",
                      operands, R"(    esac ;;
  esac
  case "$current" in
    -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current") ;;
    *)
      mapfile -t COMPREPLY < <(
        compgen -W "$words" -- "$current"
        [ -z "$files" ] || compgen -f -- "$current"
      )
      [ -z "$files" ] || compopt -o filenames 2> /dev/null
      ;;
  esac
}
complete -F _longwave longwave
)");
}

// zsh

std::string ZshOption(const OptionInfo& option) {
  const std::string help =
      absl::StrReplaceAll(OneLine(option.help, kZshQuote), {{"[", "("}, {"]", ")"}, {":", "\\:"}});
  const std::string name =
      absl::StrCat("'*", option.name, option.value_name.empty() ? "" : "=", "[", help, "]");
  if (option.value_name.empty()) return absl::StrCat(name, "'");
  std::string action = " ";
  if (TakesFile(option)) {
    action = "_files";
  } else if (!option.choices.empty()) {
    action = absl::StrCat("(", absl::StrJoin(option.choices, " "), ")");
  }
  const std::string value =
      absl::StrReplaceAll(option.value_name, {{"[", ""}, {"]", ""}, {":", "\\:"}});
  return absl::StrCat(name, ":", value, ":", action, "'");
}

std::string ZshCommand(const CommandInfo& command) {
  std::string text =
      absl::StrCat("    ", command.name, ")\n      _arguments '--help[the options]'");
  for (const OptionInfo& option : command.options) {
    if (!option.name.empty()) absl::StrAppend(&text, " \\\n        ", ZshOption(option));
  }
  const std::vector<std::string> words = OperandWords(command.operands);
  if (command.operands == Operands::kFiles) {
    absl::StrAppend(&text, " \\\n        '*:input:_files'");
  } else if (!words.empty()) {
    absl::StrAppend(&text, " \\\n        '1:word:(", absl::StrJoin(words, " "), ")'");
  }
  return text + " ;;\n";
}

std::string Zsh() {
  std::string names;
  std::string commands;
  for (const CommandInfo& command : CommandTable()) {
    absl::StrAppend(&names, "      '", command.name, ":", OneLine(command.summary, kZshQuote),
                    "'\n");
    commands.append(ZshCommand(command));
  }
  return absl::StrCat(R"(#compdef longwave
# Completion of longwave for zsh, made by `longwave completion zsh`.
_longwave() {
  if (( CURRENT == 2 )); then
    local -a commands=(
)",
                      names, R"(    )
    _describe command commands
    return
  fi
  local command="$words[2]"
  shift words
  (( CURRENT-- ))
  case "$command" in
)",
                      commands, R"(  esac
}
if [ "$funcstack[1]" = _longwave ]; then
  _longwave "$@"
else
  compdef _longwave longwave
fi
)");
}

// fish

std::string FishOption(const std::string& condition, const OptionInfo& option) {
  std::string line =
      absl::StrCat("complete -c longwave -n '", condition, "' -l ", option.name.substr(2), " -d '",
                   OneLine(option.help, kFishQuote), "'");
  if (option.value_name.empty()) return line + "\n";
  absl::StrAppend(&line, TakesFile(option) ? " -r -F" : " -x");
  if (!option.choices.empty()) {
    absl::StrAppend(&line, " -a '", absl::StrJoin(option.choices, " "), "'");
  }
  return line + "\n";
}

std::string Fish() {
  std::string text = "# Completion of longwave for fish, made by `longwave completion fish`.\n";
  for (const CommandInfo& command : CommandTable()) {
    absl::StrAppend(&text, "complete -c longwave -f -n __fish_use_subcommand -a ", command.name,
                    " -d '", OneLine(command.summary, kFishQuote), "'\n");
    const std::string condition = absl::StrCat("__fish_seen_subcommand_from ", command.name);
    const std::vector<std::string> words = OperandWords(command.operands);
    if (command.operands != Operands::kFiles) {
      absl::StrAppend(&text, "complete -c longwave -f -n '", condition, "' -a '",
                      absl::StrJoin(words, " "), "'\n");
    }
    for (const OptionInfo& option : command.options) {
      if (!option.name.empty()) text.append(FishOption(condition, option));
    }
  }
  return text;
}

}  // namespace

absl::StatusOr<std::string> Completion(absl::string_view shell) {
  if (shell == "bash") return Bash();
  if (shell == "zsh") return Zsh();
  if (shell == "fish") return Fish();
  return absl::InvalidArgumentError("needs one of bash, zsh, fish");
}

}  // namespace longwave::cli
