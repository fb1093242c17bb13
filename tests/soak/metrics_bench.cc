// longwave-metrics-bench: what recording one ended request costs, as JSON. No LibTorch, no server.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "model/base/clock.h"
#include "server/observability/service_metrics.h"

namespace longwave {
namespace {

constexpr int kRounds = 9;
constexpr int kCallsPerRound = 50'000;

// Requests of every kind that costs differently: lengths of all classes, good and refused.
RequestRecord MakeRecord(int number) {
  RequestRecord record;
  const int kind = number % 6;
  record.method = kind == 5 ? RpcMethod::kEncodeStream : RpcMethod::kEncode;
  record.admitted = kind != 4;
  record.code = kind == 4 ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk;
  record.reason = ErrorReason::kQueueFull;
  record.priority = number % 2 == 0 ? "interactive" : "batch";
  record.tokens = int64_t{128} << (2 * kind);
  record.longest_sequence = record.tokens;
  record.stages.queue = Nanoseconds(1'000'000 * (number % 100));
  record.stages.compute = Nanoseconds(5'000'000 * (number % 50));
  record.stages.total = record.stages.queue + record.stages.compute + Nanoseconds(100'000);
  record.route = "chunkwise";
  return record;
}

// Seconds that one request's start and end take, on each of `threads` threads at once.
double SecondsEach(ServiceMetrics& metrics, int threads) {
  const SteadyClock clock;
  const auto work = [&metrics] {
    for (int i = 0; i < kCallsPerRound; ++i) {
      metrics.RequestStarted(RpcMethod::kEncode);
      metrics.RequestEnded(MakeRecord(i));
    }
  };
  const Instant begin = clock.Now();
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  for (std::thread& worker : workers) worker.join();
  return ToSeconds(clock.Now() - begin) / kCallsPerRound;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Main() {
  const auto metrics = ServiceMetrics::Create({.address = "127.0.0.1:0"});
  if (!metrics.ok()) {
    std::fprintf(stderr, "longwave-metrics-bench: %s\n",
                 std::string(metrics.status().message()).c_str());
    return 1;
  }
  SecondsEach(**metrics, 1);
  std::vector<double> alone;
  std::vector<double> together;
  for (int i = 0; i < kRounds; ++i) {
    alone.push_back(SecondsEach(**metrics, 1));
    together.push_back(SecondsEach(**metrics, 2));
  }
  std::printf("{\"record_us\": %.4f, \"record_two_threads_us\": %.4f}\n", Median(alone) * 1e6,
              Median(together) * 1e6);
  return 0;
}

}  // namespace
}  // namespace longwave

int main() { return longwave::Main(); }
