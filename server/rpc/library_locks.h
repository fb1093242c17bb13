#ifndef LONGWAVE_SERVER_RPC_LIBRARY_LOCKS_H_
#define LONGWAVE_SERVER_RPC_LIBRARY_LOCKS_H_

namespace longwave {

// Debian builds Abseil without NDEBUG, so that the mutexes of gRPC watch the order in which they
// are locked: every lock of the process takes one more, a node is kept for every mutex that was
// ever held with another (20 MB after a flood of calls, for ever), and a circle ends the process.
// This makes them plain mutexes. To be called before gRPC is used.
void ForgoLockOrderChecks();

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_LIBRARY_LOCKS_H_
