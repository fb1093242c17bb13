#include "server/slice_watch.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(SliceWatchTest, ASliceThatDoesNotEndIsStuckAfterEnoughLooks) {
  SliceWatch watch(3);
  watch.Begin();
  for (int look = 0; look < 4; ++look) EXPECT_FALSE(watch.Look()) << look;
  EXPECT_TRUE(watch.Look());
  watch.End();
  EXPECT_FALSE(watch.Look());
}

TEST(SliceWatchTest, EachSliceCountsByItself) {
  SliceWatch watch(3);
  for (int slice = 0; slice < 10; ++slice) {
    watch.Begin();
    EXPECT_FALSE(watch.Look());
    EXPECT_FALSE(watch.Look());
    watch.End();
  }
}

TEST(SliceWatchTest, NothingIsStuckBetweenSlices) {
  SliceWatch watch(1);
  for (int look = 0; look < 10; ++look) EXPECT_FALSE(watch.Look());
  watch.Begin();
  watch.End();
  for (int look = 0; look < 10; ++look) EXPECT_FALSE(watch.Look());
}

TEST(SliceWatchTest, ZeroNeverCallsASliceStuck) {
  SliceWatch watch(0);
  watch.Begin();
  for (int look = 0; look < 1000; ++look) EXPECT_FALSE(watch.Look());
}

}  // namespace
}  // namespace longwave
