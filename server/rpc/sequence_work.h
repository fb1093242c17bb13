#ifndef LONGWAVE_SERVER_RPC_SEQUENCE_WORK_H_
#define LONGWAVE_SERVER_RPC_SEQUENCE_WORK_H_

#include <vector>

#include "server/admission/encode_request.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// What the scheduler needs to know of a request to foresee it. Views into `request`.
inline std::vector<SequenceWork> WorkOf(const ValidatedRequest& request) {
  std::vector<SequenceWork> work;
  work.reserve(request.sequences.size());
  for (const ValidatedSequence& sequence : request.sequences) {
    work.push_back(
        {.tokens = sequence.tokens_used, .output = &sequence.output, .route = request.route});
  }
  return work;
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_SEQUENCE_WORK_H_
