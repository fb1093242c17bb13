#include "server/scheduling/job_selector.h"

#include <algorithm>
#include <optional>

namespace longwave {
namespace {

constexpr int64_t kSlicesOfOthers = 9;

constexpr double Weight(Priority priority) { return priority == Priority::kInteractive ? 9 : 1; }

// The one whose turn has come by waiting alone, if there is one.
std::optional<size_t> LongestWaiting(absl::Span<const SliceCandidate> candidates) {
  const auto rank = [](const SliceCandidate& candidate) {
    return std::make_tuple(!candidate.started, -candidate.waited, candidate.key.number);
  };
  std::optional<size_t> longest;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].waited < kSlicesOfOthers) continue;
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
  if (slices_since_aged_ >= kSlicesOfOthers) {
    const std::optional<size_t> longest = LongestWaiting(candidates);
    if (longest.has_value()) return {.index = *longest, .aged = true};
  }
  if (!best[0].has_value()) return {.index = *best[1]};
  if (!best[1].has_value()) return {.index = *best[0]};
  const bool batch_first = Rank(candidates[*best[1]]) < Rank(candidates[*best[0]]);
  return {.index = batch_first ? *best[1] : *best[0]};
}

void JobSelector::Ran(Priority priority, double seconds, bool aged) {
  ClassState& state = of(priority);
  // A slice out of turn does not move virtual time: whoever comes next would begin too late.
  if (!aged) virtual_now_ = state.start;
  state.start += seconds / Weight(priority);
  slices_since_aged_ = aged ? 0 : slices_since_aged_ + 1;
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
