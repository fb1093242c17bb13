#ifndef LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_
#define LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/types/span.h"
#include "server/scheduling/flow.h"
#include "server/scheduling/sequence.h"

namespace longwave {

// Whom the next slice may serve: a started job that is not blocked, or what could be started.
struct SliceCandidate {
  Flow flow;
  OrderKey key;
  Instant due = kNever;      // DueTime
  double slice_seconds = 0;  // predicted
  bool started = true;
  int64_t waited = 0;  // slices of others since its last one, or since it arrived
};

// Chooses whom the next slice serves.
//
// Between the classes, and within a class between the tenants: start-time fair queueing on
// predicted seconds, with weights interactive 9 : batch 1 and the tenants' shares; whose next slice
// would end first in virtual time is served. A tenant that has used less than its share keeps up to
// kSavedSeconds of that: as long as they last it goes before tenants who take all they can get, so
// whoever stays within its share waits for little but the slice in progress; and nobody ever gets
// more than that much ahead. Within a flow: the least key; but of every two slices
// of a flow one may go to work that would else miss its deadline, the earliest due first. Over all:
// of every ten slices one goes to the started job that has waited longest, if it has waited for
// nine (so a paused job goes on at least once per nine slices of others), or else to the waiting
// sequence that has, so that nothing starves. While its class has more to run, such a slice does
// not count against it, or one paused job would take all that the batch class has. No clock, no
// lock.
class JobSelector {
 public:
  // Of its own work, in seconds by the cost model.
  static constexpr double kSavedSeconds = 0.1;

  // Why a candidate was chosen: it is first in the fair order, it is due, or it has waited.
  enum class Turn { kFair, kDue, kAgedJob, kAgedStart };
  struct Choice {
    size_t index = 0;
    Turn turn = Turn::kFair;
  };

  // Precondition: not empty.
  Choice Choose(absl::Span<const SliceCandidate> candidates, Instant now);
  // A slice was run for a candidate of the first part's flow, chosen in this turn. `parts`: whose
  // work it did, in seconds by the cost model; at least one.
  void Ran(absl::Span<const FlowPart> parts, Turn turn);

 private:
  // One of those between whom the engine is shared.
  struct Sharer {
    double start = 0;      // start tag of its next slice
    double saved = 0;      // how far that may be behind virtual time when it returns
    bool present = false;  // had a candidate at the last choice
    bool was_due = false;  // its last slice was one of kDue
  };
  struct ClassState {
    Sharer sharer;
    double virtual_now = 0;              // of its tenants: the greatest start tag of those served
    std::map<uint64_t, Sharer> tenants;  // by number
  };
  // The candidates of one flow.
  struct FlowBest {
    std::optional<size_t> least;  // by key
    std::optional<size_t> due;    // by due time, of those that are due
  };
  using FlowBests = std::map<Flow, FlowBest>;

  std::optional<Choice> ChooseByAge(absl::Span<const SliceCandidate> candidates) const;
  void NotePresence(const FlowBests& bests);
  // Of one flow; then of one class; empty if the class has none.
  Choice ChooseInFlow(const Flow& flow, const FlowBest& best);
  std::optional<Choice> ChooseInClass(Priority priority, const FlowBests& bests,
                                      absl::Span<const SliceCandidate> candidates);
  ClassState& of(Priority priority) { return classes_[static_cast<size_t>(priority)]; }

  double virtual_now_ = 0;  // of the classes: start tag of the one served last
  std::array<ClassState, 2> classes_;
  bool class_has_more_ = false;  // than what was chosen by age last
  int64_t since_aged_job_ = 0;   // slices since the last one of this turn
  int64_t since_aged_start_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_
