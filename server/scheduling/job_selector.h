#ifndef LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_
#define LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>

#include "absl/types/span.h"
#include "server/scheduling/sequence.h"

namespace longwave {

// Whom the next slice may serve: a started job that is not blocked, or what could be started.
struct SliceCandidate {
  Priority priority = Priority::kInteractive;
  OrderKey key;
  double slice_seconds = 0;  // predicted
  bool started = true;
  int64_t waited = 0;  // slices of others since its last one, or since it arrived
};

// Chooses whom the next slice serves.
//
// Between the classes: start-time fair queueing on predicted seconds with weights interactive 9 :
// batch 1; the class whose next slice would end first in virtual time is served. Within a class:
// the least key. Over both: of every ten slices one goes to the started job that has waited
// longest, if it has waited for nine (so a paused job goes on at least once per nine slices of
// others), or else to the waiting sequence that has, so that nothing starves. No clock, no lock.
class JobSelector {
 public:
  // Why a candidate was chosen: it is first in the fair order, or it has waited.
  enum class Turn { kFair, kAgedJob, kAgedStart };
  struct Choice {
    size_t index = 0;
    Turn turn = Turn::kFair;
  };

  // Precondition: not empty.
  Choice Choose(absl::Span<const SliceCandidate> candidates);
  // A slice of this class was run, worth `seconds` of predicted work.
  void Ran(Priority priority, double seconds, Turn turn);

 private:
  struct ClassState {
    double start = 0;      // start tag of its next slice
    bool present = false;  // had a candidate at the last choice
  };

  std::optional<Choice> ChooseByAge(absl::Span<const SliceCandidate> candidates) const;
  void NotePresence(Priority priority, bool present);
  // Least first between the classes: virtual finish time, then deadline, then arrival.
  std::tuple<double, Instant, uint64_t> Rank(const SliceCandidate& candidate) const;
  ClassState& of(Priority priority) { return classes_[static_cast<size_t>(priority)]; }

  double virtual_now_ = 0;  // start tag of the slice run last
  std::array<ClassState, 2> classes_;
  int64_t since_aged_job_ = 0;  // slices since the last one of this turn
  int64_t since_aged_start_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_SCHEDULING_JOB_SELECTOR_H_
