#ifndef LONGWAVE_SERVER_SERVE_H_
#define LONGWAVE_SERVER_SERVE_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"
#include "server/options.h"

namespace longwave {

// Exit codes of the server programs.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;  // could not start, lost its device, or cut calls off
inline constexpr int kExitUsage = 2;   // flags or configuration

// Where the encoder comes from; what tells the real server from the one for tests.
struct EncoderSource {
  // Checks the options and the model's configuration and prepares the process; called before there
  // are other threads. Returns the longest sequence: the port opens before the weights are read.
  std::function<absl::StatusOr<int64_t>(const ModelOptions&)> configure;
  // Loads the encoder, checks that it computes what its model promises, and runs every route once.
  // May take minutes.
  std::function<absl::StatusOr<std::unique_ptr<Encoder>>(const ModelOptions&, ServiceMetrics*,
                                                         Logger*)>
      load;
  // Stands before the metrics, for tests; empty: they are used as they are.
  std::function<std::unique_ptr<ServiceMetrics>(std::unique_ptr<ServiceMetrics>)> wrap_metrics;
  // Labels of longwave_build_info.
  std::vector<std::pair<std::string, std::string>> build_info;
};

// The whole life of a server: open the ports, load, warm up, serve until a signal, drain. Returns
// the exit code. Must be called before the process has other threads.
int Serve(const ServerOptions& options, int64_t longest_sequence, const EncoderSource& source);

// What a server program does with its command line, Serve included. Prints what it must.
int RunServerProgram(int argc, char** argv, const EncoderSource& source);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SERVE_H_
