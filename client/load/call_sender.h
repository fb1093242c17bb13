#ifndef LONGWAVE_CLIENT_LOAD_CALL_SENDER_H_
#define LONGWAVE_CLIENT_LOAD_CALL_SENDER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "client/load/schedule.h"

namespace longwave::load {

// What came of one call.
struct CallResult {
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string reason;  // the server's, of an error; may be empty
  // Of an OK reply: who computed it, and a hash of its bytes.
  std::string model_identity;
  uint64_t content = 0;
  // Of an OK reply, the server's own account of it.
  double queue_seconds = 0;
  double compute_seconds = 0;
  double server_seconds = 0;
};

// Told of the end of each call. Called on any thread, also from within Send.
class CallObserver {
 public:
  virtual ~CallObserver() = default;
  virtual void OnDone(int64_t number, CallResult result) = 0;
};

// Begins calls and does not wait for them. Used by one thread.
class CallSender {
 public:
  virtual ~CallSender() = default;
  // Exactly one OnDone follows. `number` is new. `due_seconds` of the call, on the run's clock, is
  // when its time began, whatever the time is now.
  virtual void Send(int64_t number, const PlannedCall& call) = 0;
  // Makes a call end soon; no effect on one that has.
  virtual void Cancel(int64_t number) = 0;
  // The same for all.
  virtual void CancelAll() = 0;
};

}  // namespace longwave::load

#endif  // LONGWAVE_CLIENT_LOAD_CALL_SENDER_H_
