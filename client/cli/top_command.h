#ifndef LONGWAVE_CLIENT_CLI_TOP_COMMAND_H_
#define LONGWAVE_CLIENT_CLI_TOP_COMMAND_H_

#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/cli/access.h"
#include "client/cli/exit_code.h"
#include "client/cli/option_parser.h"
#include "client/top/metric_page.h"
#include "client/top/page_fetcher.h"
#include "client/top/top_report.h"

namespace longwave::cli {

inline constexpr char kDefaultMetrics[] = "http://127.0.0.1:9090/metrics";

struct TopArguments {
  std::string metrics = kDefaultMetrics;
  absl::Duration interval = absl::Seconds(2);
  int64_t count = 0;  // intervals; 0: without end
  bool once = false;
  bool json = false;
  AccessArguments access;  // not asked for: the metrics page knows no keys
};
absl::StatusOr<TopArguments> ParseTop(absl::Span<const std::string> arguments);
std::vector<OptionInfo> TopOptionInfos();

// The first tick after `now` of those that follow `last`: what a stall made miss is not caught up.
std::chrono::steady_clock::time_point NextTick(std::chrono::steady_clock::time_point last,
                                               std::chrono::steady_clock::time_point now,
                                               std::chrono::nanoseconds interval);

// `longwave top`: looks at a server's metrics page again and again and shows what has changed.
class TopCommand {
 public:
  // The streams outlive the command.
  TopCommand(TopArguments arguments, std::ostream& out, std::ostream& err)
      : arguments_(std::move(arguments)), out_(out), err_(err) {}

  ExitCode Run();

 private:
  using Clock = std::chrono::steady_clock;

  // `give_up`: see PageFetcher.
  absl::StatusOr<top::MetricPage> Look(const std::function<bool()>& give_up = {});
  // Looks once more and compares. A look that fails leaves the last good one to compare with.
  absl::StatusOr<top::TopReport> LookAgain(const std::function<bool()>& give_up = {});
  ExitCode ShowOnce(const top::MetricPage& page);
  ExitCode ShowLines();
  ExitCode ShowLive();
  bool Ended(int64_t shown) const { return arguments_.count > 0 && shown >= arguments_.count; }

  const TopArguments arguments_;
  std::ostream& out_;
  std::ostream& err_;
  std::unique_ptr<top::PageFetcher> fetcher_;
  std::optional<top::MetricPage> last_;
  Clock::time_point last_time_;
};

}  // namespace longwave::cli

#endif  // LONGWAVE_CLIENT_CLI_TOP_COMMAND_H_
