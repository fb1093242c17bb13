#ifndef LONGWAVE_CLIENT_CLI_LOAD_COMMAND_H_
#define LONGWAVE_CLIENT_CLI_LOAD_COMMAND_H_

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/exit_code.h"
#include "client/cli/load_arguments.h"
#include "client/cli/progress_bar.h"
#include "client/load/capacity_search.h"
#include "client/load/grpc_sender.h"
#include "client/load/load_report.h"

namespace longwave::cli {

// `longwave load`: offers load to a server and reports what came of it. Used once.
class LoadCommand {
 public:
  // `out` and `err` outlive the command.
  LoadCommand(LoadArguments arguments, std::ostream& out, std::ostream& err);

  ExitCode Run();

 private:
  struct Step {
    double rate = 0;
    load::LoadReport report;
  };

  ExitCode Connect();
  // One run with all rates times `scale`.
  absl::StatusOr<load::LoadReport> Measure(double scale);
  ExitCode MeasureOnce();
  ExitCode FindCapacity();
  // What is wrong with a report that must not be believed, told; kExitOk if nothing is.
  ExitCode Judge(const load::LoadReport& report);
  void PrintCapacity(const load::CapacitySearch& search, const std::vector<Step>& steps);
  double TotalRate() const;

  LoadArguments arguments_;
  std::ostream& out_;
  std::ostream& err_;
  ProgressBar progress_;
  std::unique_ptr<load::GrpcSender> sender_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_LOAD_COMMAND_H_
