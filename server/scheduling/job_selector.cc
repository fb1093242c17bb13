#include "server/scheduling/job_selector.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace longwave {
namespace {

constexpr int64_t kSlicesOfOthers = 9;

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

// Least first between sharers: virtual finish time, then deadline, then arrival.
std::tuple<double, Instant, uint64_t> Rank(double start, double weight,
                                           const SliceCandidate& candidate) {
  return {start + candidate.slice_seconds / weight, candidate.key.deadline, candidate.key.number};
}

}  // namespace

JobSelector::Choice JobSelector::Choose(absl::Span<const SliceCandidate> candidates, Instant now) {
  FlowBests bests;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const SliceCandidate& candidate = candidates[i];
    FlowBest& best = bests[candidate.flow];
    if (!best.least.has_value() || candidate.key < candidates[*best.least].key) best.least = i;
    if (candidate.due > now) continue;
    const auto due = [&](size_t of) {
      return std::make_pair(candidates[of].due, candidates[of].key.number);
    };
    if (!best.due.has_value() || due(i) < due(*best.due)) best.due = i;
  }
  NotePresence(bests);
  if (const std::optional<Choice> aged = ChooseByAge(candidates); aged.has_value()) {
    const Priority priority = candidates[aged->index].flow.priority;
    class_has_more_ = std::count_if(candidates.begin(), candidates.end(), [&](const auto& other) {
                        return other.flow.priority == priority;
                      }) > 1;
    return *aged;
  }
  const std::optional<Choice> interactive =
      ChooseInClass(Priority::kInteractive, bests, candidates);
  const std::optional<Choice> batch = ChooseInClass(Priority::kBatch, bests, candidates);
  if (!interactive.has_value()) return *batch;
  if (!batch.has_value()) return *interactive;
  const auto rank = [&](Priority priority, const Choice& choice) {
    return Rank(of(priority).sharer.start, ClassWeight(priority), candidates[choice.index]);
  };
  return rank(Priority::kBatch, *batch) < rank(Priority::kInteractive, *interactive) ? *batch
                                                                                     : *interactive;
}

std::optional<JobSelector::Choice> JobSelector::ChooseInClass(
    Priority priority, const FlowBests& bests, absl::Span<const SliceCandidate> candidates) {
  std::optional<Choice> chosen;
  std::tuple<double, Instant, uint64_t> least;
  for (const auto& [flow, best] : bests) {
    if (flow.priority != priority) continue;
    const Choice choice = ChooseInFlow(flow, best);
    const double start = of(priority).tenants[flow.tenant].start;
    const auto rank = Rank(start, flow.share, candidates[choice.index]);
    if (chosen.has_value() && !(rank < least)) continue;
    chosen = choice;
    least = rank;
  }
  return chosen;
}

JobSelector::Choice JobSelector::ChooseInFlow(const Flow& flow, const FlowBest& best) {
  const bool due = best.due.has_value() && best.due != best.least &&
                   !of(flow.priority).tenants[flow.tenant].was_due;
  if (due) return {.index = *best.due, .turn = Turn::kDue};
  return {.index = *best.least};
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

void JobSelector::Ran(absl::Span<const FlowPart> parts, Turn turn) {
  const Flow& first = parts.front().flow;
  ClassState& state = of(first.priority);
  Sharer& tenant = state.tenants[first.tenant];
  // A slice out of turn does not move virtual time: whoever comes next would begin too late.
  const bool in_turn = turn == Turn::kFair || turn == Turn::kDue;
  if (in_turn) {
    virtual_now_ = state.sharer.start;
    state.virtual_now = std::max(state.virtual_now, tenant.start);
    tenant.was_due = turn == Turn::kDue;
  }
  // Were it always charged to its class, one paused job of the batch class would use up all that
  // the class has, slice for slice, and nothing else of it would ever begin.
  const bool charged = in_turn || !class_has_more_;
  for (const FlowPart& part : parts) {
    if (charged) state.sharer.start += part.seconds / ClassWeight(first.priority);
    state.tenants[part.flow.tenant].start += part.seconds / part.flow.share;
  }
  since_aged_job_ = turn == Turn::kAgedJob ? 0 : since_aged_job_ + 1;
  since_aged_start_ = turn == Turn::kAgedStart ? 0 : since_aged_start_ + 1;
}

void JobSelector::NotePresence(const FlowBests& bests) {
  // Whoever had nothing to run begins now, but for what it has saved. A class saves nothing.
  const auto note = [](Sharer& sharer, bool present, double now) {
    if (present && !sharer.present) sharer.start = std::max(sharer.start, now - sharer.saved);
    sharer.present = present;
  };
  for (const Priority priority : {Priority::kInteractive, Priority::kBatch}) {
    ClassState& state = of(priority);
    bool any = false;
    for (const auto& [flow, best] : bests) {
      if (flow.priority != priority) continue;
      any = true;
      Sharer& tenant = state.tenants[flow.tenant];
      tenant.saved = kSavedSeconds / flow.share;
      note(tenant, true, state.virtual_now);
    }
    for (auto entry = state.tenants.begin(); entry != state.tenants.end();) {
      Sharer& tenant = entry->second;
      if (!bests.contains({.priority = priority, .tenant = entry->first})) tenant.present = false;
      // One that has saved all it may is like one never seen.
      const bool forgotten = !tenant.present && tenant.start <= state.virtual_now - tenant.saved;
      entry = forgotten ? state.tenants.erase(entry) : std::next(entry);
    }
    note(state.sharer, any, virtual_now_);
  }
}

}  // namespace longwave
