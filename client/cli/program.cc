#include <algorithm>

#include "client/cli/command_table.h"
#include "client/cli/commands.h"
#include "client/cli/completion.h"
#include "client/cli/encode_command.h"
#include "client/cli/load_command.h"
#include "client/cli/man_page.h"
#include "client/cli/top_command.h"
#include "client/version.h"

namespace longwave::cli {
namespace {

bool AsksForHelp(absl::Span<const std::string> arguments) {
  const auto end = std::find(arguments.begin(), arguments.end(), "--");
  return std::any_of(arguments.begin(), end, [](const std::string& argument) {
    return argument == "--help" || argument == "-h";
  });
}

// Runs `run` on what `parsed` holds, or says what is wrong with it.
template <typename Arguments, typename Run>
ExitCode RunParsed(const std::string& subcommand, absl::StatusOr<Arguments> parsed,
                   const Environment& environment, std::ostream& err, Run run) {
  if (parsed.ok()) {
    parsed->access.api_key = environment.api_key;
    return run(*std::move(parsed));
  }
  err << "longwave " << subcommand << ": " << parsed.status().message() << "\n"
      << "`longwave help " << subcommand << "` lists the options.\n";
  return kExitUsage;
}

ExitCode PrintCompletion(absl::Span<const std::string> rest, std::ostream& out, std::ostream& err) {
  const auto script = Completion(rest.size() == 1 ? rest[0] : "");
  if (script.ok()) {
    out << *script;
    return kExitOk;
  }
  err << "longwave completion: " << script.status().message() << "\n";
  return kExitUsage;
}

}  // namespace

ExitCode RunProgram(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                    std::ostream& err, const Environment& environment) {
  if (arguments.empty()) {
    err << HelpText("");
    return kExitUsage;
  }
  const std::string& subcommand = arguments[0];
  const auto rest = absl::MakeConstSpan(arguments).subspan(1);
  if (subcommand == "--version") {
    out << "longwave " << client::Version() << "\n";
    return kExitOk;
  }
  if (subcommand == "help" || subcommand == "--help" || subcommand == "-h") {
    out << HelpText(rest.empty() ? "" : rest[0]);
    return kExitOk;
  }
  if (AsksForHelp(rest)) {
    out << HelpText(subcommand);
    return kExitOk;
  }
  if (subcommand == "encode") {
    return RunParsed(subcommand, ParseEncode(rest), environment, err, [&](EncodeArguments parsed) {
      return EncodeCommand(std::move(parsed), in, out, err).Run();
    });
  }
  if (subcommand == "stream") {
    return RunParsed(subcommand, ParseStream(rest), environment, err, [&](EncodeArguments parsed) {
      return EncodeCommand(std::move(parsed), in, out, err).Run();
    });
  }
  if (subcommand == "info") {
    return RunParsed(subcommand, ParseInfo(rest), environment, err,
                     [&](InfoArguments parsed) { return RunInfo(parsed, out, err); });
  }
  if (subcommand == "estimate") {
    return RunParsed(subcommand, ParseEstimate(rest), environment, err,
                     [&](EstimateArguments parsed) { return RunEstimate(parsed, in, out, err); });
  }
  if (subcommand == "health") {
    return RunParsed(subcommand, ParseHealth(rest), environment, err,
                     [&](HealthArguments parsed) { return RunHealth(parsed, out, err); });
  }
  if (subcommand == "load") {
    return RunParsed(subcommand, ParseLoad(rest), environment, err, [&](LoadArguments parsed) {
      return LoadCommand(std::move(parsed), out, err).Run();
    });
  }
  if (subcommand == "top") {
    return RunParsed(subcommand, ParseTop(rest), environment, err, [&](TopArguments parsed) {
      return TopCommand(std::move(parsed), out, err).Run();
    });
  }
  if (subcommand == "man" && rest.empty()) {
    out << ManPage();
    return kExitOk;
  }
  if (subcommand == "completion") return PrintCompletion(rest, out, err);
  err << "longwave: unknown command " << subcommand << "\n" << HelpText("");
  return kExitUsage;
}

}  // namespace longwave::cli
