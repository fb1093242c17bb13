#ifndef LONGWAVE_CLIENT_CLI_COMMANDS_H_
#define LONGWAVE_CLIENT_CLI_COMMANDS_H_

#include <iostream>
#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/exit_code.h"

namespace longwave::cli {

ExitCode RunInfo(const InfoArguments& arguments, std::ostream& out, std::ostream& err);
ExitCode RunEstimate(const EstimateArguments& arguments, std::istream& in, std::ostream& out,
                     std::ostream& err);
ExitCode RunHealth(const HealthArguments& arguments, std::ostream& out, std::ostream& err);

// What the program takes from its environment.
struct Environment {
  std::string api_key;  // LONGWAVE_API_KEY; empty: none
};

// The whole program: `arguments` are those behind the program's name.
ExitCode RunProgram(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                    std::ostream& err, const Environment& environment = {});

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_COMMANDS_H_
