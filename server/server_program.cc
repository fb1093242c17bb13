#include "server/server_program.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/model_keeper.h"
#include "server/options.h"
#include "server/security/security.h"
#include "server/serve.h"

namespace longwave {

int RunServerProgram(int argc, char** argv, const EncoderSource& source) {
  const absl::StatusOr<CommandLine> line =
      ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc));
  if (!line.ok()) {
    for (absl::string_view problem : absl::StrSplit(line.status().message(), '\n')) {
      PrintError(problem);
    }
    PrintError("see --help");
    return kExitUsage;
  }
  switch (line->action) {
    case CommandLine::Action::kHelp:
      std::printf("usage: longwave-server [--flag=value ...]\n\n%s", line->help.c_str());
      return kExitOk;
    case CommandLine::Action::kVersion:
      std::printf("longwave-server %s\n", LONGWAVE_VERSION);
      return kExitOk;
    case CommandLine::Action::kCheckConfig:
    case CommandLine::Action::kServe:
      break;
  }
  const absl::StatusOr<int64_t> longest = ConfigureModel(line->options.model, source);
  // The same files are read again to serve; here a wrong one is a mistake of the configuration.
  const absl::Status security = Security::Create(line->options.security, nullptr).status();
  for (const absl::Status& status : {longest.status(), security}) {
    if (status.ok()) continue;
    for (absl::string_view problem : absl::StrSplit(status.message(), '\n')) PrintError(problem);
  }
  if (!longest.ok() || !security.ok()) return kExitUsage;
  if (line->action == CommandLine::Action::kCheckConfig) {
    std::puts("the configuration is valid");
    return kExitOk;
  }
  return Serve(line->options, *longest, source);
}

}  // namespace longwave
