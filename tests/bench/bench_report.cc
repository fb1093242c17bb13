#include "tests/bench/bench_report.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "model/base/clock.h"

namespace longwave {
namespace {

constexpr double kLongRunSeconds = 10;

double Seconds(const std::function<void()>& body) {
  const SteadyClock clock;
  const Instant begin = clock.Now();
  body();
  return ToSeconds(clock.Now() - begin);
}

}  // namespace

double MedianSeconds(int repeat, const std::function<void()>& body) {
  const double warm_up = Seconds(body);
  const int runs = warm_up > kLongRunSeconds ? 1 : std::max(1, repeat);
  std::vector<double> seconds;
  for (int run = 0; run < runs; ++run) seconds.push_back(Seconds(body));
  std::nth_element(seconds.begin(), seconds.begin() + runs / 2, seconds.end());
  return seconds[runs / 2];
}

absl::string_view BiasKindName(BiasKind kind) {
  switch (kind) {
    case BiasKind::kNone:
      return "none";
    case BiasKind::kTable:
      return "table";
    case BiasKind::kClipped:
      return "clipped";
    case BiasKind::kT5:
      return "t5";
    case BiasKind::kAlibi:
      return "alibi";
  }
  return "";
}

void Print(const BenchOptions& options, const AttentionResult& result) {
  const std::string route(RouteName(result.route));
  const std::string bias(BiasKindName(options.bias));
  const bool has_peer = !result.peer.empty();
  if (!options.json) {
    std::printf("%-10s %-8s n %-8lld %10.3f ms  error %.1e", route.c_str(), bias.c_str(),
                static_cast<long long>(options.tokens), 1e3 * result.seconds,
                result.relative_error);
    if (has_peer) {
      std::printf("  %s %10.3f ms  ratio %.2f\n", result.peer.c_str(), 1e3 * result.peer_seconds,
                  result.peer_seconds / result.seconds);
    } else {
      std::printf("  (%s)\n", result.peer_note.c_str());
    }
    return;
  }
  nlohmann::ordered_json line = {{"route", route},
                                 {"bias", bias},
                                 {"causal", options.causal},
                                 {"n", options.tokens},
                                 {"heads", options.heads},
                                 {"head_dim", options.head_dim},
                                 {"features", options.features},
                                 {"threads", options.threads},
                                 {"device", "cpu"},
                                 {"seconds", result.seconds},
                                 {"peer", nullptr},
                                 {"peer_seconds", nullptr},
                                 {"ratio", nullptr},
                                 {"rel_error", result.relative_error},
                                 {"peer_rel_error", nullptr},
                                 {"reference", result.reference}};
  if (has_peer) {
    line["peer"] = result.peer;
    line["peer_seconds"] = result.peer_seconds;
    line["ratio"] = result.peer_seconds / result.seconds;
    line["peer_rel_error"] = result.peer_relative_error;
  } else {
    line["peer_note"] = result.peer_note;
  }
  std::printf("%s\n", line.dump().c_str());
}

void Print(const BenchOptions& options, const EncoderResult& result) {
  const double tokens = static_cast<double>(options.tokens);
  const double rate = tokens / result.seconds;
  const bool has_peer = !result.peer.empty();
  if (!options.json) {
    std::printf("encoder n %lld: %.0f tokens/s, %.2f s per million tokens",
                static_cast<long long>(options.tokens), rate, 1e6 / rate);
    if (has_peer) {
      std::printf("; %s %.0f tokens/s, ratio %.2f\n", result.peer.c_str(),
                  tokens / result.peer_seconds, result.peer_seconds / result.seconds);
    } else {
      std::printf("; no peer (%s)\n", result.peer_note.c_str());
    }
    return;
  }
  nlohmann::ordered_json line = {{"n", options.tokens},
                                 {"layers", options.layers},
                                 {"hidden", options.heads * options.head_dim},
                                 {"heads", options.heads},
                                 {"bias", std::string(BiasKindName(options.bias))},
                                 {"threads", options.threads},
                                 {"device", "cpu"},
                                 {"seconds", result.seconds},
                                 {"tokens_per_second", rate},
                                 {"peer", nullptr},
                                 {"peer_tokens_per_second", nullptr},
                                 {"ratio", nullptr},
                                 {"seconds_per_megatoken", 1e6 / rate}};
  if (has_peer) {
    line["peer"] = result.peer;
    line["peer_tokens_per_second"] = tokens / result.peer_seconds;
    line["ratio"] = result.peer_seconds / result.seconds;
  } else {
    line["peer_note"] = result.peer_note;
  }
  std::printf("%s\n", line.dump().c_str());
}

}  // namespace longwave
