#include "tests/simulation/history_checker.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

Instant At(int64_t seconds) { return Instant(std::chrono::seconds(seconds)); }

// Two alike sequences, computed one after the other in one slice each.
History GoodHistory() {
  History history;
  for (int64_t i = 0; i < 2; ++i) {
    history.sequences.push_back({.request = i,
                                 .tokens = 10,
                                 .predicted_seconds = 0.01,
                                 .predicted_shared_seconds = 0.01,
                                 .submitted = At(1 + i),
                                 .accepted = true,
                                 .popped = At(10 + i),
                                 .ends = 1,
                                 .ended = At(11 + i),
                                 .ok = true,
                                 .rows_right = true});
    history.jobs.push_back({.members = {i}, .held_bytes = 10, .live_jobs = 1, .seconds = 1});
    history.steps.push_back({.job = i,
                             .began = At(10 + i),
                             .ended = At(11 + i),
                             .members = {i},
                             .first = true,
                             .live_jobs = 1,
                             .held_bytes = 10,
                             .work_seconds = 0.01});
    history.whole_jobs.push_back(i);
    history.observed.batches.push_back({.sequences = 1, .tokens = 10});
    history.observed.slices.push_back(1);
    history.observed.job_ends.push_back({.tokens = 10, .seconds = 1});
    history.rounds.push_back({.began = At(10 + i), .ran = true});
  }
  history.rounds.push_back({.began = At(12), .ran = false});
  history.observed.slice_starts = 2;
  history.moments = {
      {.accepted = 2, .open_tokens = 20, .view = {.queued_sequences = 2, .queued_tokens = 20}},
      {.accepted = 2,
       .ok = 1,
       .open_tokens = 10,
       .computed = 1,
       .computed_tokens = 10,
       .view = {.running_sequences = 1}},
      {.accepted = 2, .ok = 2}};
  return history;
}

TEST(CheckHistoryTest, FindsNothingWhereNothingIsBroken) {
  EXPECT_THAT(CheckHistory(GoodHistory()), IsEmpty());
}

struct Breach {
  const char* invariant;
  const char* name;
  std::function<void(History&)> plant;
};

void Doom(SequenceHistory& sequence, ErrorReason reason) {
  sequence.ok = false;
  sequence.reason = reason;
}

// A checker that finds nothing is worth nothing: each breach must be found, under its name.
TEST(CheckHistoryTest, FindsEachPlantedBreach) {
  const std::vector<Breach> breaches = {
      {"I1", "no end", [](History& h) { h.sequences[0].ends = 0; }},
      {"I1", "two ends", [](History& h) { h.sequences[0].ends = 2; }},
      {"I1", "an end of a refused one", [](History& h) { h.sequences[0].accepted = false; }},
      {"I1", "a call after the end", [](History& h) { h.sequences[0].called_after_end = true; }},
      {"I2", "foreign rows", [](History& h) { h.sequences[1].rows_right = false; }},
      {"I3", "computed after the deadline", [](History& h) { h.sequences[1].deadline = At(11); }},
      {"I3", "computed after the cancel", [](History& h) { h.sequences[1].cancelled = At(10); }},
      {"I3", "computed after the end", [](History& h) { h.sequences[1].ended = At(10); }},
      {"I3", "a slice for nobody", [](History& h) { h.steps[0].members.clear(); }},
      {"I4", "too many queued",
       [](History& h) {
         h.moments[0].view.queued_sequences = h.options.admission.max_queue_sequences + 1;
       }},
      {"I4", "too many tokens queued",
       [](History& h) {
         h.moments[0].view.queued_tokens = h.options.admission.max_queue_tokens + 1;
       }},
      {"I4", "too much memory",
       [](History& h) {
         h.jobs[1].live_jobs = 2;
         h.jobs[1].held_bytes = h.options.max_resident_bytes / 8 * 9 + 1;
       }},
      {"I4", "too much of the host",
       [](History& h) {
         h.options.admission.max_host_bytes = 99;
         for (SequenceHistory& sequence : h.sequences) sequence.request_bytes = 50;
       }},
      {"I4", "too many jobs", [](History& h) { h.jobs[1].live_jobs = 18; }},
      {"I4", "too large a batch",
       [](History& h) {
         h.jobs[1].members = {0, 1};
         h.options.max_batch_tokens = 19;
       }},
      {"I5", "accepted while draining", [](History& h) { h.drain_began = At(2); }},
      {"I6", "something left", [](History& h) { h.last_view.queued_seconds = 1e-9; }},
      {"I6", "a job left", [](History& h) { h.live_jobs_at_end = 1; }},
      {"I7", "an overtaking",
       [](History& h) { std::swap(h.sequences[0].popped, h.sequences[1].popped); }},
      {"I7", "a job that waits",
       [](History& h) {
         h.steps.clear();
         for (int i = 0; i < 13; ++i) {
           h.steps.push_back({.job = i == 0 || i == 12 ? 0 : 1, .members = {1}, .live_jobs = 2});
         }
       }},
      {"I7", "rest with work", [](History& h) { h.rounds.back().view.queued_sequences = 1; }},
      {"I7", "an overtaking by a new prediction",
       [](History& h) {
         h.predictions_hold = false;
         h.sequences[1].predicted_seconds = 0.005;
         std::swap(h.sequences[0].popped, h.sequences[1].popped);
       }},
      {"I7", "an overtaking in a batch of a request that is predicted alike",
       [](History& h) {
         h.predictions_hold = false;
         h.jobs[0].members = {0, 1};
         std::swap(h.sequences[0].popped, h.sequences[1].popped);
       }},
      {"I7", "a wait in the queue",
       [](History& h) {  // the other tenant has saved 0.1 s, and shares are equal
         h.sequences[0].tenant = "other";
         const StepHistory step = h.steps[0];
         for (int i = 0; i < 13; ++i) {
           h.steps.insert(h.steps.begin(), step);
           h.steps[0].work_seconds = 0.02;
         }
       }},
      {"I8", "a sequence that nobody counts",
       [](History& h) { h.moments[0].view.queued_sequences = 1; }},
      {"I8", "an end that nobody was told of", [](History& h) { h.moments[2].ok = 1; }},
      {"I8", "an error that is not counted", [](History& h) { h.moments[2].errors = 1; }},
      {"I8", "one that runs and is not computed", [](History& h) { h.moments[1].computed = 0; }},
      {"I8", "a token too many", [](History& h) { ++h.moments[0].view.queued_tokens; }},
      {"I8", "a slice that was not observed", [](History& h) { h.observed.slices.pop_back(); }},
      {"I8", "a slice of other length", [](History& h) { h.observed.slices[1] = 1.1; }},
      {"I8", "a slice that did not start", [](History& h) { h.observed.slice_starts = 1; }},
      {"I8", "a batch that was not observed", [](History& h) { h.observed.batches.pop_back(); }},
      {"I8", "a batch that did not begin",
       [](History& h) { h.observed.batches.push_back({.sequences = 1, .tokens = 10}); }},
      {"I8", "a batch of other members", [](History& h) { h.observed.batches[1].sequences = 2; }},
      {"I8", "a batch of other lengths", [](History& h) { h.observed.batches[1].tokens = 9; }},
      {"I8", "the end of a job not observed", [](History& h) { h.observed.job_ends.pop_back(); }},
      {"I8", "the end of a job that did not end", [](History& h) { h.whole_jobs.pop_back(); }},
      {"I8", "a job of other length", [](History& h) { h.observed.job_ends[0].seconds = 2; }},
      {"I9", "an end without its cause",
       [](History& h) { Doom(h.sequences[1], ErrorReason::kCancelled); }},
      {"I9", "a fault without faults",
       [](History& h) { Doom(h.sequences[1], ErrorReason::kOutOfMemory); }},
      {"I9", "a reader that was not slow",
       [](History& h) { Doom(h.sequences[1], ErrorReason::kSlowReader); }},
      {"I9", "a quota that nobody has",
       [](History& h) {
         h.sequences[1].accepted = false;
         h.sequences[1].ends = 0;
         h.sequences[1].refusal = ErrorReason::kQuotaExceeded;
       }},
      {"I9", "unmeetable without a deadline",
       [](History& h) {
         h.sequences[1].accepted = false;
         h.sequences[1].ends = 0;
         h.sequences[1].refusal = ErrorReason::kDeadlineUnmeetable;
       }},
      {"I9", "accepted too late", [](History& h) { h.sequences[1].deadline = At(2); }},
      {"I9", "a late end", [](History& h) {
         h.sequences[1].cancelled = At(3);
         h.steps.pop_back();
       }}};
  for (const Breach& breach : breaches) {
    History history = GoodHistory();
    breach.plant(history);
    EXPECT_THAT(CheckHistory(history), Contains(StartsWith(breach.invariant))) << breach.name;
  }
}

TEST(CheckHistoryTest, AllowsWhatTheRulesAllow) {
  const std::vector<Breach> allowed = {{"", "a mate that is believed to fit by now",
                                        [](History& h) {
                                          h.predictions_hold = false;
                                          h.sequences[1].predicted_seconds = 0.005;
                                          h.jobs[0].members = {0, 1};
                                          std::swap(h.sequences[0].popped, h.sequences[1].popped);
                                        }},
                                       {"", "a wait for memory", [](History& h) {
                                          h.sequences[0].tenant = "other";
                                          const StepHistory step = h.steps[0];
                                          for (int i = 0; i < 13; ++i) {
                                            h.steps.insert(h.steps.begin(), step);
                                            h.steps[0].work_seconds = 0.02;
                                            h.steps[0].first = false;
                                            h.steps[0].held_bytes =
                                                h.options.max_resident_bytes + 1;
                                          }
                                        }}};
  for (const Breach& breach : allowed) {
    History history = GoodHistory();
    breach.plant(history);
    EXPECT_THAT(CheckHistory(history), Not(Contains(StartsWith("I7")))) << breach.name;
  }
}

}  // namespace
}  // namespace longwave
