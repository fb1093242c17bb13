#include "server/scheduling/job_selector.h"

#include <algorithm>
#include <utility>

namespace longwave {
namespace {

constexpr int64_t kSlicesOfOthers = 9;

constexpr double Weight(Priority priority) { return priority == Priority::kInteractive ? 9 : 1; }

// The one that has waited longest, of those that have waited for nine slices.
std::optional<size_t> LongestWaiting(absl::Span<const SliceCandidate> candidates, bool started) {
  const auto rank = [](const SliceCandidate& candidate) {
    return std::make_pair(-candidate.waited, candidate.key.number);
  };
  std::optional<size_t> longest;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].started != started || candidates[i].waited < kSlicesOfOthers) continue;
    if (!longest.has_value() || rank(candidates[i]) < rank(candidates[*longest])) longest = i;
  }
  return longest;
}

}  // namespace

JobSelector::Choice JobSelector::Choose(absl::Span<const SliceCandidate> candidates) {
  std::array<std::optional<size_t>, 2> best;  // of each class
  for (size_t i = 0; i < candidates.size(); ++i) {
    std::optional<size_t>& of_class = best[static_cast<size_t>(candidates[i].priority)];
    if (!of_class.has_value() || candidates[i].key < candidates[*of_class].key) of_class = i;
  }
  NotePresence(Priority::kInteractive, best[0].has_value());
  NotePresence(Priority::kBatch, best[1].has_value());
  if (const std::optional<Choice> aged = ChooseByAge(candidates); aged.has_value()) return *aged;
  if (!best[0].has_value()) return {.index = *best[1]};
  if (!best[1].has_value()) return {.index = *best[0]};
  const bool batch_first = Rank(candidates[*best[1]]) < Rank(candidates[*best[0]]);
  return {.index = batch_first ? *best[1] : *best[0]};
}

std::optional<JobSelector::Choice> JobSelector::ChooseByAge(
    absl::Span<const SliceCandidate> candidates) const {
  std::optional<size_t> chosen;
  if (since_aged_job_ >= kSlicesOfOthers) chosen = LongestWaiting(candidates, /*started=*/true);
  if (chosen.has_value()) return Choice{.index = *chosen, .turn = Turn::kAgedJob};
  // A job's turn must not be lost to the queue, so the queue waits for both.
  if (std::min(since_aged_job_, since_aged_start_) >= kSlicesOfOthers) {
    chosen = LongestWaiting(candidates, /*started=*/false);
  }
  if (chosen.has_value()) return Choice{.index = *chosen, .turn = Turn::kAgedStart};
  return std::nullopt;
}

void JobSelector::Ran(Priority priority, double seconds, Turn turn) {
  ClassState& state = of(priority);
  // A slice out of turn does not move virtual time: whoever comes next would begin too late.
  if (turn == Turn::kFair) virtual_now_ = state.start;
  state.start += seconds / Weight(priority);
  since_aged_job_ = turn == Turn::kAgedJob ? 0 : since_aged_job_ + 1;
  since_aged_start_ = turn == Turn::kAgedStart ? 0 : since_aged_start_ + 1;
}

void JobSelector::NotePresence(Priority priority, bool present) {
  ClassState& state = of(priority);
  // A class that had nothing to run begins now; it has saved nothing up.
  if (present && !state.present) state.start = std::max(state.start, virtual_now_);
  state.present = present;
}

std::tuple<double, Instant, uint64_t> JobSelector::Rank(const SliceCandidate& candidate) const {
  const double finish = classes_[static_cast<size_t>(candidate.priority)].start +
                        candidate.slice_seconds / Weight(candidate.priority);
  return {finish, candidate.key.deadline, candidate.key.number};
}

}  // namespace longwave
