#ifndef LONGWAVE_TESTS_SIMULATION_HISTORY_CHECKER_H_
#define LONGWAVE_TESTS_SIMULATION_HISTORY_CHECKER_H_

#include <string>
#include <vector>

#include "tests/simulation/history.h"

namespace longwave {

// Every promise of the scheduler that the history breaks, in words; empty: none.
//
// I1 each accepted sequence ends exactly once, a refused one gets no call
// I2 OK means that the rows belong to that input
// I3 no slice begins for a sequence whose deadline or cancellation was known
// I4 the queue and the memory stay within their bounds
// I5 nothing is accepted after the drain began
// I6 all counts return to zero
// I7 equal requests begin in the order of arrival; nothing that can run waits for long, neither in
//    the queue (waiting_bound.h) nor once it has begun
// I8 after every act, accepted = ok + errors + in flight; what the observer was told is what the
//    encoder saw
// I9 an end or a refusal has the cause that it names, and what is doomed ends at once
std::vector<std::string> CheckHistory(const History& history);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SIMULATION_HISTORY_CHECKER_H_
