// longwave-one-caller: one caller that sends its next call when the last one has been answered, as
// the measure of what a call takes beside the bare encoder, which is called just so. One JSON
// object: how many calls, and medians of seconds: of the whole call, of what the reply calls
// compute, and of a health check, which is a call around nothing.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/synchronization/mutex.h"
#include "client/client.h"

namespace longwave {
namespace {

using Steady = std::chrono::steady_clock;

double Since(Steady::time_point begin) {
  return std::chrono::duration<double>(Steady::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Calls of one kind; their times in seconds.
struct Samples {
  std::vector<double> call;
  std::vector<double> compute;
};

absl::StatusOr<Samples> CallEncode(client::Client& client, int64_t tokens, double budget) {
  std::vector<uint32_t> ids(tokens);
  for (int64_t i = 0; i < tokens; ++i) ids[i] = static_cast<uint32_t>((i * 131 + 7) % 256);
  const std::vector<client::TokenSequence> sequences = {ids};
  Samples samples;
  const Steady::time_point start = Steady::now();
  while (Since(start) < budget || samples.call.size() < 5) {
    const Steady::time_point begin = Steady::now();
    const auto result = client.Encode(sequences);
    if (!result.ok()) return result.status();
    samples.call.push_back(Since(begin));
    const auto& compute = result->requests()[0].timings.compute();
    samples.compute.push_back(static_cast<double>(compute.seconds()) + compute.nanos() * 1e-9);
  }
  return samples;
}

absl::StatusOr<Samples> CallHealth(client::Client& client, double budget) {
  Samples samples;
  const Steady::time_point start = Steady::now();
  while (Since(start) < budget || samples.call.size() < 5) {
    const Steady::time_point begin = Steady::now();
    const auto health = client.Health();
    if (!health.ok()) return health.status();
    samples.call.push_back(Since(begin));
  }
  return samples;
}

absl::Status Measure(const std::string& target, int64_t tokens, double seconds) {
  client::ClientOptions options;
  options.target = target;
  const auto client = client::Client::Create(options);
  if (!client.ok()) return client.status();
  const auto health = CallHealth(**client, seconds / 10);
  if (!health.ok()) return health.status();
  const auto encode = CallEncode(**client, tokens, seconds);
  if (!encode.ok()) return encode.status();
  std::printf(
      "{\"calls\": %zu, \"p50_seconds\": %.9g, \"compute_p50_seconds\": %.9g, "
      "\"health_p50_seconds\": %.9g}\n",
      encode->call.size(), Median(encode->call), Median(encode->compute), Median(health->call));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  // As in client/cli/main.cc.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  int64_t tokens = 0;
  double seconds = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[2], &tokens) || tokens < 1 ||
      !absl::SimpleAtod(argv[3], &seconds) || !(seconds > 0)) {
    std::fprintf(stderr, "usage: longwave-one-caller HOST:PORT TOKENS SECONDS\n");
    return 2;
  }
  const absl::Status measured = Measure(argv[1], tokens, seconds);
  if (measured.ok()) return 0;
  std::fprintf(stderr, "longwave-one-caller: %s\n", std::string(measured.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) { return longwave::Main(argc, argv); }
