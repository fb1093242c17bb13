#include "server/rpc/library_locks.h"

#include "absl/synchronization/mutex.h"

namespace longwave {

void ForgoLockOrderChecks() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace longwave
