#include "server/rpc/library_locks.h"

#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"

namespace longwave {
namespace {

TEST(ForgoLockOrderChecksTest, NoOrderEndsTheProcess) {
  ForgoLockOrderChecks();
  absl::Mutex first;
  absl::Mutex second;
  {
    const absl::MutexLock outer(&first);
    const absl::MutexLock inner(&second);
  }
  // One thread cannot lock itself out, but an Abseil that watches does not ask for that.
  const absl::MutexLock outer(&second);
  const absl::MutexLock inner(&first);
}

}  // namespace
}  // namespace longwave
