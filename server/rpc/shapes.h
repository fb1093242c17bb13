#ifndef LONGWAVE_SERVER_RPC_SHAPES_H_
#define LONGWAVE_SERVER_RPC_SHAPES_H_

#include <vector>

#include "server/admission/encode_request.h"
#include "server/scheduling/scheduler.h"

namespace longwave {

// What the scheduler needs to know of a request to foresee it. Views into `request`.
inline std::vector<SequenceShape> Shapes(const ValidatedRequest& request) {
  std::vector<SequenceShape> shapes;
  shapes.reserve(request.sequences.size());
  for (const ValidatedSequence& sequence : request.sequences) {
    shapes.push_back(
        {.tokens = sequence.tokens_used, .output = &sequence.output, .route = request.route});
  }
  return shapes;
}

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_SHAPES_H_
