#include "tests/bench/cost_fit.h"

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

// Three of them; StrCat writes 40000 and not 4e+04.
std::string Digits(double value) {
  return absl::StrCat(std::strtod(absl::StrFormat("%.3g", value).c_str(), nullptr));
}

std::string MethodText(const MethodCost& cost) {
  return absl::StrFormat("{\"gflops\": %s, \"head_microseconds\": %s}", Digits(cost.gflops),
                         Digits(cost.head_microseconds));
}

std::string ChannelsText(const std::vector<ChannelCost>& points) {
  const auto point = [](std::string* out, const ChannelCost& each) {
    absl::StrAppend(out, "[", each.tokens, ", ", Digits(each.nanoseconds_per_token), "]");
  };
  return absl::StrCat("[", absl::StrJoin(points, ", ", point), "]");
}

std::string DeviceText(const std::string& name, const DeviceCosts& costs) {
  return absl::StrCat("    \"", name, "\": {\n      \"tiles\": ", MethodText(costs.tiles),
                      ",\n      \"band\": ", MethodText(costs.band),
                      ",\n      \"buckets\": ", MethodText(costs.buckets),
                      ",\n      \"interpolation\": ", MethodText(costs.interpolation),
                      ",\n      \"fft_nanoseconds_per_channel\": {\n        \"fp32\": ",
                      ChannelsText(costs.fft_fp32),
                      ",\n        \"fp64\": ", ChannelsText(costs.fft_fp64), "\n      }\n    }");
}

}  // namespace

MethodCost FitMethodCost(const CostPoint& small, const CostPoint& large) {
  const double rate = (large.flops - small.flops) / (large.seconds - small.seconds);
  const double start = small.seconds - small.flops / rate;
  if (large.seconds <= small.seconds || start < 0) return {large.flops / large.seconds / 1e9, 0};
  return {rate / 1e9, start * 1e6};
}

std::string WithCpuCosts(const std::string& text, const DeviceCosts& costs,
                         const std::string& measured) {
  const nlohmann::json old = nlohmann::json::parse(text);
  const DeviceCosts cuda = ParseRouteCosts(text)->cuda;
  const std::string before = old.at("measured").get<std::string>();
  const size_t cuda_note = before.find("cuda:");
  const std::string note =
      cuda_note == std::string::npos ? measured : measured + "; " + before.substr(cuda_note);
  return absl::StrCat("{\n  \"schema_version\": ", old.at("schema_version").get<int>(),
                      ",\n  \"measured\": ", nlohmann::json(note).dump(),
                      ",\n  \"device_classes\": {\n", DeviceText("cpu", costs), ",\n",
                      DeviceText("cuda", cuda), "\n  }\n}\n");
}

}  // namespace longwave
