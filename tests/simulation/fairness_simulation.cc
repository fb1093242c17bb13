// The scheduler against the ideal that its order is made from: all requests served at once, in
// equal shares. No request may end later than there, but for what slices and batches cost.

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "server/scheduling/stepped_scheduler.h"

namespace longwave {
namespace {

constexpr double kSecondsPerToken = 0.001;
constexpr int64_t kTokensPerSlice = 20;
constexpr double kSliceSeconds = kSecondsPerToken * kTokensPerSlice;

struct Request {
  double arrives = 0;
  double seconds = 0;
  double shared_end = 0;  // under equal sharing
  double ended = -1;
};

class EndClock final : public SequenceConsumer {
 public:
  EndClock(const FakeClock* clock, Instant start, double* ended)
      : clock_(*clock), start_(start), ended_(*ended) {}
  RowSink::Answer OnRows(int64_t, RowBlock) override { return RowSink::Answer::kTaken; }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    EXPECT_TRUE(result.ok());
    ended_ = ToSeconds(clock_.Now() - start_);
  }

 private:
  const FakeClock& clock_;
  const Instant start_;
  double& ended_;
};

// Exact ends under equal sharing: from event to event the present requests lose the same.
void ShareEqually(std::vector<Request>& requests) {
  std::vector<double> left;
  for (const Request& request : requests) left.push_back(request.seconds);
  double now = 0;
  size_t arrived = 0;
  size_t done = 0;
  while (done < requests.size()) {
    double least = 1e300;
    int present = 0;
    for (size_t r = 0; r < arrived; ++r) {
      if (left[r] <= 0) continue;
      ++present;
      least = std::min(least, left[r]);
    }
    const double next_arrival = arrived < requests.size() ? requests[arrived].arrives : 1e300;
    if (present == 0 || now + least * present > next_arrival) {
      const double share = present == 0 ? 0 : (next_arrival - now) / present;
      for (size_t r = 0; r < arrived; ++r) left[r] -= left[r] > 0 ? share : 0;
      now = next_arrival;
      ++arrived;
      continue;
    }
    now += least * present;
    for (size_t r = 0; r < arrived; ++r) {
      if (left[r] <= 0) continue;
      left[r] -= least;
      if (left[r] > 1e-9) continue;
      left[r] = 0;
      requests[r].shared_end = now;
      ++done;
    }
  }
}

std::vector<Request> RandomRequests(std::mt19937& random) {
  std::vector<Request> requests;
  double now = 0;
  for (int i = 0; i < 60; ++i) {
    now += kSecondsPerToken * static_cast<double>(random() % 400);
    const int64_t tokens = random() % 6 == 0 ? 200 + random() % 3000 : 1 + random() % 100;
    requests.push_back({.arrives = now, .seconds = kSecondsPerToken * tokens});
  }
  return requests;
}

void Schedule(std::vector<Request>& requests, const SchedulerOptions& options) {
  FakeClock clock;
  const Instant start = clock.Now();
  const auto model = std::make_shared<ServedModel>(
      std::make_shared<FakeEncoder>(FakeEncoderOptions{.pace = FakePace::kFakeClock,
                                                       .clock = &clock,
                                                       .base_seconds = 0,
                                                       .seconds_per_token = kSecondsPerToken,
                                                       .tokens_per_slice = kTokensPerSlice}));
  SteppedScheduler scheduler(options, &clock, nullptr);
  size_t next = 0;
  while (true) {
    const double now = ToSeconds(clock.Now() - start);
    while (next < requests.size() && requests[next].arrives <= now) {
      std::vector<SequenceTask> tasks;
      const auto tokens = std::lround(requests[next].seconds / kSecondsPerToken);
      tasks.push_back(
          {.model = model,
           .token_ids = std::vector<int32_t>(tokens, 1),
           .consumer = std::make_shared<EndClock>(&clock, start, &requests[next].ended)});
      ASSERT_TRUE(scheduler.Submit(std::move(tasks), {}).ok());
      ++next;
    }
    if (scheduler.RunOnce()) continue;
    if (next == requests.size()) return;
    clock.Advance(FromSeconds(requests[next].arrives) - (clock.Now() - start) + Nanoseconds(1));
  }
}

// Every request is let in, however long it will wait.
SchedulerOptions Patient() {
  SchedulerOptions options;
  options.admission.max_wait_seconds = 1e4;
  return options;
}

TEST(FairnessSimulation, NoRequestEndsLaterThanUnderEqualSharing) {
  for (uint32_t seed = 1; seed <= 150; ++seed) {
    std::mt19937 random(seed);
    std::vector<Request> requests = RandomRequests(random);
    ShareEqually(requests);
    SchedulerOptions options = Patient();
    options.max_batch_seconds = 0.1;
    Schedule(requests, options);
    for (const Request& request : requests) {
      ASSERT_GE(request.ended, 0);
      const double shared = request.shared_end - request.arrives;
      // One slice in ten goes to what has waited longest, a slice in progress ends first, and mates
      // of a batch are computed with it.
      const double allowed = shared * 10 / 9 + 2 * kSliceSeconds + 2 * options.max_batch_seconds;
      EXPECT_LE(request.ended - request.arrives, allowed) << "seed " << seed;
    }
  }
}

TEST(FairnessSimulation, ShortRequestsGainFromIt) {
  double ours = 0;
  double shared = 0;
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    std::mt19937 random(seed);
    std::vector<Request> requests = RandomRequests(random);
    ShareEqually(requests);
    Schedule(requests, Patient());
    for (const Request& request : requests) {
      ours += request.ended - request.arrives;
      shared += request.shared_end - request.arrives;
    }
  }
  EXPECT_LT(ours, shared) << "mean time over all requests";
}

}  // namespace
}  // namespace longwave
