#include "model/attention/route_costs.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "model/weights/json_fields.h"

namespace longwave {
namespace {

constexpr int64_t kSchemaVersion = 1;
constexpr double kMaxGflops = 1e9;
constexpr double kMaxMicroseconds = 1e9;
constexpr double kMaxNanoseconds = 1e9;

MethodCost ReadMethod(JsonFields fields) {
  MethodCost cost;
  cost.gflops = fields.Number("gflops", std::nullopt, 0, kMaxGflops);
  // Accepts zero, which Number's open lower bound does not.
  cost.head_microseconds =
      fields.Number("head_microseconds", std::nullopt, -1e-300, kMaxMicroseconds);
  fields.RefuseUnknown();
  return cost;
}

// [[tokens, nanoseconds], ...], tokens ascending.
std::vector<ChannelCost> ReadChannels(JsonFields& fields, absl::string_view key) {
  const std::string accepted = "[[tokens, nanoseconds], ...] with ascending tokens from 1";
  std::vector<ChannelCost> points;
  for (const nlohmann::json& pair : fields.Array(key, /*required=*/true)) {
    const bool sound = pair.is_array() && pair.size() == 2 && pair[0].is_number_unsigned() &&
                       pair[1].is_number() && pair[1].get<double>() > 0 &&
                       pair[1].get<double>() <= kMaxNanoseconds;
    if (sound) points.push_back({pair[0].get<int64_t>(), pair[1].get<double>()});
    const size_t count = points.size();
    if (!sound || points.back().tokens < 1 ||
        (count > 1 && points[count - 2].tokens >= points.back().tokens)) {
      fields.Refuse(key, accepted);
      return {};
    }
  }
  if (points.empty() && fields.Has(key)) fields.Refuse(key, accepted);
  return points;
}

DeviceCosts ReadDevice(JsonFields fields) {
  DeviceCosts costs;
  costs.tiles = ReadMethod(fields.Object("tiles"));
  costs.band = ReadMethod(fields.Object("band"));
  costs.buckets = ReadMethod(fields.Object("buckets"));
  costs.interpolation = ReadMethod(fields.Object("interpolation"));
  JsonFields channels = fields.Object("fft_nanoseconds_per_channel");
  costs.fft_fp32 = ReadChannels(channels, "fp32");
  costs.fft_fp64 = ReadChannels(channels, "fp64");
  channels.RefuseUnknown();
  fields.RefuseUnknown();
  return costs;
}

RouteCosts ParseBuiltIn() {
  absl::StatusOr<RouteCosts> costs = ParseRouteCosts(BuiltInRouteCostsText());
  if (!costs.ok()) {
    std::fputs(absl::StrCat(costs.status().message(), "\n").c_str(), stderr);
    std::abort();
  }
  return *std::move(costs);
}

}  // namespace

double SecondsPerToken(const std::vector<ChannelCost>& points, int64_t n) {
  if (n <= points.front().tokens) return 1e-9 * points.front().nanoseconds_per_token;
  for (size_t i = 1; i < points.size(); ++i) {
    const ChannelCost& low = points[i - 1];
    const ChannelCost& high = points[i];
    if (n > high.tokens) continue;
    const double part =
        std::log(static_cast<double>(n) / static_cast<double>(low.tokens)) /
        std::log(static_cast<double>(high.tokens) / static_cast<double>(low.tokens));
    return 1e-9 * (low.nanoseconds_per_token +
                   part * (high.nanoseconds_per_token - low.nanoseconds_per_token));
  }
  return 1e-9 * points.back().nanoseconds_per_token;
}

absl::StatusOr<RouteCosts> ParseRouteCosts(absl::string_view json) {
  const absl::StatusOr<nlohmann::json> root = ParseJsonObject(json);
  if (!root.ok()) return root.status();
  Problems problems;
  RouteCosts costs;
  JsonFields fields(*root, "", &problems);
  fields.Integer("schema_version", std::nullopt, kSchemaVersion, kSchemaVersion);
  fields.String("measured", std::nullopt);
  JsonFields devices = fields.Object("device_classes");
  costs.cpu = ReadDevice(devices.Object("cpu"));
  costs.cuda = ReadDevice(devices.Object("cuda"));
  devices.RefuseUnknown();
  fields.RefuseUnknown();
  if (!problems.empty()) return problems.ToStatus("the route costs have problems:");
  return costs;
}

const RouteCosts& BuiltInRouteCosts() {
  static const RouteCosts costs = ParseBuiltIn();
  return costs;
}

}  // namespace longwave
