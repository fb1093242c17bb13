#include "model/encoder/disposer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>

namespace longwave {
namespace {

struct Recorder {
  std::atomic<int>* destroyed;
  std::thread::id* where;
  ~Recorder() {
    *where = std::this_thread::get_id();
    ++*destroyed;
  }
};

TEST(Disposer, DestroysEverythingOnItsOwnThread) {
  std::atomic<int> destroyed = 0;
  std::thread::id where;
  {
    Disposer disposer;
    for (int i = 0; i < 100; ++i) {
      disposer.Dispose(std::shared_ptr<Recorder>(new Recorder{&destroyed, &where}));
    }
  }
  EXPECT_EQ(destroyed, 100);
  EXPECT_NE(where, std::this_thread::get_id());
}

TEST(Disposer, DoesNotKeepThingsUntilItsEnd) {
  std::atomic<int> destroyed = 0;
  std::thread::id where;
  Disposer disposer;
  disposer.Dispose(std::shared_ptr<Recorder>(new Recorder{&destroyed, &where}));
  while (destroyed == 0) std::this_thread::yield();
  EXPECT_EQ(destroyed, 1);
}

TEST(Disposer, WithNothingToDoItEnds) { Disposer disposer; }

}  // namespace
}  // namespace longwave
