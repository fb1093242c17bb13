#ifndef LONGWAVE_CLIENT_CLI_COMMAND_TABLE_H_
#define LONGWAVE_CLIENT_CLI_COMMAND_TABLE_H_

#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/option_parser.h"

namespace longwave::cli {

// A subcommand as it is told of: help, manual and completion are made of this alone.
struct CommandInfo {
  enum class Operands { kNone, kFiles, kCommands, kShells };

  std::string name;
  std::string summary;
  std::string usage;  // "usage: ...", a paragraph, examples indented by two
  Operands operands = Operands::kNone;
  std::vector<OptionInfo> options;
};

// All of them, in the order of the help.
std::vector<CommandInfo> CommandTable();

struct ExitCodeInfo {
  ExitCode code;
  std::string meaning;
};
std::vector<ExitCodeInfo> ExitCodeTable();

// The help of one subcommand, or of the program for anything else.
std::string HelpText(absl::string_view subcommand);

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_COMMAND_TABLE_H_
