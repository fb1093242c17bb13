#ifndef LONGWAVE_TESTS_SIMULATION_WAITING_BOUND_H_
#define LONGWAVE_TESTS_SIMULATION_WAITING_BOUND_H_

#include <cstddef>

#include "tests/simulation/history.h"

namespace longwave {

// How long one sequence waited in the queue, and how long it may. In seconds of work as the encoder
// predicts it, so that time in which there was nothing to run, and how slow the device was, do not
// count.
struct QueueWait {
  double seconds = 0;  // of slices, those that ran while nothing kept it from beginning
  double bound = 0;
};

// A slice counts if before it a job could have begun with any sequence of the flow (one tenant's
// work of one class), whatever it needs: there was a place for a job, and memory. How long places
// and memory are taken is up to readers.
//
// The bound follows from the order of README.md in server/scheduling:
//
//   T = slice + spread * 11/9 * ((own + 2 slices) / tenants + others * (slice + saved)) / classes
//
// - own: work of its flow that goes before it at most: what came before it, and what came later and
//   is either not longer than its request (a tag is the virtual time of arrival + the length, so
//   only such can have a smaller one), or has a deadline (it may be due), or rides in batches (as a
//   mate where this one does not fit). Twice, where what ran out of memory is computed again;
//   and with all of the class that began and failed or was dropped, since what is skipped of it is
//   charged like work done.
// - tenants: its tenant's part of the shares of all who had open work of the class meanwhile.
// - classes: its class's part, 9:1, or all if the other class had none.
// - 11/9: of eleven slices two go to what has waited, one job and one start.
// - others: such other tenants. Each may have saved JobSelector::kSavedSeconds, and begin a slice
//   on a tie.
// - 2 slices: the flow's last one, for which it still pays, and its next, which decides the rank.
// - the slice in front: the one in progress.
// - spread: of the cost model's seconds for equal work, the greatest over the least: shares are
//   charged by them. 1 where predictions hold.
QueueWait WaitOf(const History& history, size_t index);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_WAITING_BOUND_H_
