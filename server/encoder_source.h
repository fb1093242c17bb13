#ifndef LONGWAVE_SERVER_ENCODER_SOURCE_H_
#define LONGWAVE_SERVER_ENCODER_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/api/encoder.h"
#include "server/model_options.h"
#include "server/observability/log.h"
#include "server/observability/service_metrics.h"

namespace longwave {

// Where encoders come from; what tells the real server from the one for tests. Both functions get
// the options with the path of one model folder.
struct EncoderSource {
  // Checks the options and the model's configuration and prepares the process; called before there
  // are other threads. Returns the longest sequence: the port opens before the weights are read.
  std::function<absl::StatusOr<int64_t>(const ModelOptions&)> configure;
  // Loads the encoder, checks that it computes what its model promises, and runs every route once.
  // May take minutes, while encoders that it loaded before serve. `version`, unless empty, is the
  // model's, whatever its folder says.
  std::function<absl::StatusOr<std::unique_ptr<Encoder>>(
      const ModelOptions&, const std::string& version, ServiceMetrics*, Logger*)>
      load;
  // Stands before the metrics, for tests; empty: they are used as they are.
  std::function<std::unique_ptr<ServiceMetrics>(std::unique_ptr<ServiceMetrics>)> wrap_metrics;
  // Labels of longwave_build_info.
  std::vector<std::pair<std::string, std::string>> build_info;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_ENCODER_SOURCE_H_
