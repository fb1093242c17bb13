#include "tests/simulation/open_loop.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <utility>

#include "model/api/fake_encoder.h"
#include "server/scheduling/stepped_scheduler.h"

namespace longwave {
namespace {

// Takes the time that its inner encoder does, and more or less of it as the script says.
class SlowEncoder final : public Encoder {
 public:
  SlowEncoder(const OpenLoopOptions& options, FakeClock* clock)
      : options_(options),
        clock_(*clock),
        start_(clock->Now()),
        inner_({.pace = FakePace::kInstant,
                .base_seconds = options.base_seconds,
                .seconds_per_token = options.seconds_per_token,
                .tokens_per_slice = options.tokens_per_slice}) {}

  const EncoderInfo& Info() const override { return inner_.Info(); }
  absl::Status Health() const override { return inner_.Health(); }
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override {
    return inner_.Predict(tokens, output, route);
  }
  absl::Status CheckRoute(int64_t tokens, Route route) const override {
    return inner_.CheckRoute(tokens, route);
  }
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override {
    const double seconds = options_.base_seconds +
                           options_.seconds_per_token * static_cast<double>(batch.token_ids.size());
    auto job = inner_.Begin(std::move(batch), std::move(outputs), sink);
    if (!job.ok()) return job;
    return std::make_unique<Job>(this, *std::move(job), seconds);
  }

 private:
  class Job final : public EncodeJob {
   public:
    Job(SlowEncoder* encoder, std::unique_ptr<EncodeJob> inner, double seconds)
        : encoder_(*encoder), inner_(std::move(inner)), seconds_(seconds) {}
    absl::StatusOr<State> Step() override {
      encoder_.Spend(std::min(seconds_ - spent_, SliceSeconds()));
      spent_ += SliceSeconds();
      return inner_->Step();
    }
    void Drop(int sequence) override { inner_->Drop(sequence); }
    int64_t ResidentBytes() const override { return inner_->ResidentBytes(); }
    double Progress() const override { return inner_->Progress(); }

   private:
    double SliceSeconds() const {
      return encoder_.options_.seconds_per_token *
                 static_cast<double>(encoder_.options_.tokens_per_slice) +
             (spent_ == 0 ? encoder_.options_.base_seconds : 0);
    }
    SlowEncoder& encoder_;
    const std::unique_ptr<EncodeJob> inner_;
    const double seconds_;
    double spent_ = 0;
  };

  void Spend(double seconds) {
    clock_.AdvanceSeconds(seconds * options_.slowness(ToSeconds(clock_.Now() - start_)));
  }

  const OpenLoopOptions& options_;
  FakeClock& clock_;
  const Instant start_;
  FakeEncoder inner_;
};

class OutcomeConsumer final : public SequenceConsumer {
 public:
  OutcomeConsumer(const Clock* clock, Instant start, Outcome* outcome)
      : clock_(*clock), start_(start), outcome_(*outcome) {}
  RowSink::Answer OnRows(int64_t first_row, RowBlock rows) override {
    return RowSink::Answer::kTaken;
  }
  void OnEnd(absl::StatusOr<SequenceReport> result, const SequenceTimes& times) override {
    outcome_.ended = ToSeconds(clock_.Now() - start_);
    outcome_.ok = result.ok();
    if (!result.ok()) outcome_.reason = GetErrorDetails(result.status()).reason;
  }

 private:
  const Clock& clock_;
  const Instant start_;
  Outcome& outcome_;
};

std::vector<Outcome> Arrivals(const OpenLoopOptions& options, const std::vector<Source>& sources) {
  std::vector<Outcome> arrivals;
  for (size_t s = 0; s < sources.size(); ++s) {
    std::mt19937 random(options.seed * 1000 + static_cast<uint32_t>(s));
    std::uniform_real_distribution<double> uniform(0, 1);
    double now = 0;
    while (true) {
      now -= std::log(1 - uniform(random)) / sources[s].peak_rate;
      if (now >= options.seconds) break;
      if (uniform(random) * sources[s].peak_rate > sources[s].rate(now)) continue;
      arrivals.push_back({.source = s, .tokens = sources[s].tokens(random()), .arrived = now});
    }
  }
  std::stable_sort(arrivals.begin(), arrivals.end(),
                   [](const Outcome& a, const Outcome& b) { return a.arrived < b.arrived; });
  return arrivals;
}

}  // namespace

std::vector<Outcome> RunOpenLoop(const OpenLoopOptions& options,
                                 const std::vector<Source>& sources) {
  FakeClock clock;
  const Instant start = clock.Now();
  const auto model = std::make_shared<ServedModel>(std::make_shared<SlowEncoder>(options, &clock));
  SteppedScheduler scheduler(options.scheduler, &clock, nullptr);
  std::vector<Outcome> outcomes = Arrivals(options, sources);
  size_t next = 0;
  while (true) {
    const double now = ToSeconds(clock.Now() - start);
    for (; next < outcomes.size() && outcomes[next].arrived <= now; ++next) {
      Outcome& outcome = outcomes[next];
      const Source& source = sources[outcome.source];
      RequestTerms terms{.priority = source.priority, .tenant = source.tenant};
      if (source.deadline_seconds > 0) {
        terms.deadline = start + FromSeconds(outcome.arrived + source.deadline_seconds);
      }
      std::vector<SequenceTask> tasks;
      tasks.push_back({.model = model,
                       .token_ids = std::vector<int32_t>(outcome.tokens, 1),
                       .consumer = std::make_shared<OutcomeConsumer>(&clock, start, &outcome)});
      const OutputSpec output;
      const Forecast forecast =
          scheduler.Foresee(*model, {{.tokens = outcome.tokens, .output = &output}}, terms);
      outcome.foreseen = now + forecast.wait_seconds + forecast.seconds;
      const auto ticket = scheduler.Submit(std::move(tasks), terms);
      outcome.accepted = ticket.ok();
      if (ticket.ok()) continue;
      outcome.reason = GetErrorDetails(ticket.status()).reason;
      outcome.ended = now;
    }
    if (scheduler.RunOnce()) continue;
    if (next == outcomes.size()) return outcomes;
    clock.Advance(FromSeconds(outcomes[next].arrived) - (clock.Now() - start) + Nanoseconds(1));
  }
}

double Goodput(const std::vector<Outcome>& outcomes, double begin, double end) {
  int64_t tokens = 0;
  for (const Outcome& outcome : outcomes) {
    if (outcome.arrived >= begin && outcome.arrived < end && outcome.ok) tokens += outcome.tokens;
  }
  return static_cast<double>(tokens) / (end - begin);
}

double OkShare(const std::vector<Outcome>& outcomes,
               const std::function<bool(const Outcome&)>& which) {
  int64_t all = 0;
  int64_t ok = 0;
  for (const Outcome& outcome : outcomes) {
    if (!which(outcome)) continue;
    ++all;
    ok += outcome.ok ? 1 : 0;
  }
  return all == 0 ? 0 : static_cast<double>(ok) / static_cast<double>(all);
}

double LatencyQuantile(const std::vector<Outcome>& outcomes, double quantile,
                       const std::function<bool(const Outcome&)>& which) {
  std::vector<double> latencies;
  for (const Outcome& outcome : outcomes) {
    if (outcome.ok && which(outcome)) latencies.push_back(outcome.latency());
  }
  if (latencies.empty()) return 0;
  const auto at = static_cast<size_t>(quantile * static_cast<double>(latencies.size() - 1));
  std::nth_element(latencies.begin(), latencies.begin() + static_cast<int64_t>(at),
                   latencies.end());
  return latencies[at];
}

}  // namespace longwave
