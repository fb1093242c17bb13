#include "tests/simulation/history_checker.h"

#include <functional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longwave {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using ::testing::StartsWith;

Instant At(int64_t seconds) { return Instant(std::chrono::seconds(seconds)); }

// Two alike sequences, computed one after the other in one slice each.
History GoodHistory() {
  History history;
  for (int64_t i = 0; i < 2; ++i) {
    history.sequences.push_back({.request = i,
                                 .tokens = 10,
                                 .submitted = At(1 + i),
                                 .accepted = true,
                                 .popped = At(10 + i),
                                 .ends = 1,
                                 .ended = At(11 + i),
                                 .ok = true,
                                 .rows_right = true});
    history.jobs.push_back({.members = {i}, .held_bytes = 10, .live_jobs = 1});
    history.steps.push_back(
        {.job = i, .began = At(10 + i), .ended = At(11 + i), .members = {i}, .live_jobs = 1});
    history.rounds.push_back({.began = At(10 + i), .ran = true});
  }
  history.rounds.push_back({.began = At(12), .ran = false});
  history.batches_observed = 2;
  history.slices_observed = 2;
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
         h.rounds[0].view.queued_sequences = h.options.admission.max_queue_sequences + 1;
       }},
      {"I4", "too many tokens queued",
       [](History& h) {
         h.rounds[0].view.queued_tokens = h.options.admission.max_queue_tokens + 1;
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
         h.slices_observed = 13;
       }},
      {"I7", "rest with work", [](History& h) { h.rounds.back().view.queued_sequences = 1; }},
      {"I8", "a slice that was not observed", [](History& h) { h.slices_observed = 1; }},
      {"I8", "a batch that was not observed", [](History& h) { h.batches_observed = 1; }},
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
         h.slices_observed = 1;
       }}};
  for (const Breach& breach : breaches) {
    History history = GoodHistory();
    breach.plant(history);
    EXPECT_THAT(CheckHistory(history), Contains(StartsWith(breach.invariant))) << breach.name;
  }
}

}  // namespace
}  // namespace longwave
