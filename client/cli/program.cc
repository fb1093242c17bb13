#include <algorithm>
#include <exception>
#include <utility>

#include "client/cli/command_table.h"
#include "client/cli/commands.h"
#include "client/cli/completion.h"
#include "client/cli/encode_command.h"
#include "client/cli/load_command.h"
#include "client/cli/man_page.h"
#include "client/cli/printable.h"
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

// A subcommand as it was called.
struct Call {
  const std::string& subcommand;
  absl::Span<const std::string> rest;
  const Environment& environment;
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
};

// Runs `run` on what `parsed` holds, or says what is wrong with it.
template <typename Arguments, typename Run>
ExitCode RunParsed(const Call& call, absl::StatusOr<Arguments> parsed, Run run) {
  if (parsed.ok()) {
    parsed->access.api_key = call.environment.api_key;
    return run(*std::move(parsed));
  }
  call.err << "longwave " << call.subcommand << ": " << parsed.status().message() << "\n"
           << "`longwave help " << call.subcommand << "` lists the options.\n";
  return kExitUsage;
}

ExitCode RunEncode(const Call& call) {
  auto parsed = call.subcommand == "stream" ? ParseStream(call.rest) : ParseEncode(call.rest);
  return RunParsed(call, std::move(parsed), [&](EncodeArguments arguments) {
    return EncodeCommand(std::move(arguments), call.in, call.out, call.err).Run();
  });
}

ExitCode PrintCompletion(const Call& call) {
  const auto script = Completion(call.rest.size() == 1 ? call.rest[0] : "");
  if (script.ok()) {
    call.out << *script;
    return kExitOk;
  }
  call.err << "longwave completion: " << script.status().message() << "\n";
  return kExitUsage;
}

struct Subcommand {
  absl::string_view name;
  ExitCode (*run)(const Call& call);
};

constexpr Subcommand kSubcommands[] = {
    {"encode", RunEncode},
    {"stream", RunEncode},
    {"info",
     [](const Call& call) {
       return RunParsed(call, ParseInfo(call.rest), [&](const InfoArguments& arguments) {
         return RunInfo(arguments, call.out, call.err);
       });
     }},
    {"estimate",
     [](const Call& call) {
       return RunParsed(call, ParseEstimate(call.rest), [&](const EstimateArguments& arguments) {
         return RunEstimate(arguments, call.in, call.out, call.err);
       });
     }},
    {"health",
     [](const Call& call) {
       return RunParsed(call, ParseHealth(call.rest), [&](const HealthArguments& arguments) {
         return RunHealth(arguments, call.out, call.err);
       });
     }},
    {"load",
     [](const Call& call) {
       return RunParsed(call, ParseLoad(call.rest), [&](LoadArguments arguments) {
         return LoadCommand(std::move(arguments), call.out, call.err).Run();
       });
     }},
    {"top",
     [](const Call& call) {
       return RunParsed(call, ParseTop(call.rest), [&](TopArguments arguments) {
         return TopCommand(std::move(arguments), call.out, call.err).Run();
       });
     }},
    {"man",
     [](const Call& call) {
       call.out << ManPage();
       return kExitOk;
     }},
    {"completion", PrintCompletion}};

ExitCode Dispatch(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
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
  for (const Subcommand& each : kSubcommands) {
    if (each.name == subcommand) {
      return each.run({subcommand, rest, environment, in, out, err});
    }
  }
  err << "longwave: unknown command " << subcommand << "\n" << HelpText("");
  return kExitUsage;
}

}  // namespace

ExitCode RunProgram(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                    std::ostream& err, const Environment& environment) {
  // Errors of ours are values; the libraries below still throw: no memory, a stream's own.
  PrintableOutput said(err);
  try {
    return Dispatch(arguments, in, out, said.stream(), environment);
  } catch (const std::exception& error) {
    said.stream() << "longwave: " << error.what() << "\n";
    return kExitFailed;
  }
}

}  // namespace longwave::cli
