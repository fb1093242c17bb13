#include "server/memory_trimmer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/base/clock.h"

namespace longwave {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

// Memory of which a part is in use and the rest lies free in the allocator.
class MemoryTrimmerTest : public testing::Test {
 protected:
  void LookAfter(double seconds, bool idle = true) {
    now_ += FromSeconds(seconds);
    trimmer_.Look(now_, idle);
  }

  int64_t used_ = 20 * kMib;
  int64_t free_ = 0;
  int trims_ = 0;
  Instant now_ = Instant{} + FromSeconds(1000);
  MemoryTrimmer trimmer_{{[this] { return used_ + free_; },
                          [this] {
                            ++trims_;
                            free_ = 0;
                          }}};
};

TEST_F(MemoryTrimmerTest, LeavesASteadyProcessAlone) {
  for (int i = 0; i < 100; ++i) LookAfter(1);
  free_ = MemoryTrimmer::kSpareBytes - 1;
  for (int i = 0; i < 100; ++i) LookAfter(1);
  EXPECT_EQ(trims_, 0);
}

TEST_F(MemoryTrimmerTest, GivesBackWhatAFloodLeft) {
  LookAfter(1);
  free_ = 1800 * kMib;
  LookAfter(1);
  EXPECT_EQ(trims_, 1);
  EXPECT_EQ(free_, 0);
}

TEST_F(MemoryTrimmerTest, EveryFloodButNotAllTheTime) {
  LookAfter(1);
  for (int flood = 0; flood < 20; ++flood) {
    free_ = 500 * kMib;
    LookAfter(1);
  }
  EXPECT_EQ(trims_, 2);  // the first and the eleventh
}

TEST_F(MemoryTrimmerTest, WorkIsHeldUpOnlyForMuch) {
  LookAfter(1);
  free_ = MemoryTrimmer::kBusySpareBytes - 1;
  LookAfter(1, /*idle=*/false);
  EXPECT_EQ(trims_, 0);
  free_ = MemoryTrimmer::kBusySpareBytes;
  LookAfter(1, /*idle=*/false);
  EXPECT_EQ(trims_, 1);
}

TEST_F(MemoryTrimmerTest, WhatWasInUseIsFoundWhenItIsFree) {
  LookAfter(1);
  used_ = 4000 * kMib;
  LookAfter(1);
  EXPECT_EQ(trims_, 1) << "in vain";
  free_ = 3980 * kMib;
  used_ = 20 * kMib;
  LookAfter(MemoryTrimmer::kPauseSeconds);
  EXPECT_EQ(free_, 0);
}

TEST_F(MemoryTrimmerTest, DoesNothingWhereMemoryIsNotKnown) {
  used_ = 0;
  LookAfter(1);
  EXPECT_EQ(trims_, 0);
}

TEST(MemoryTrimmerOfTheProcessTest, LooksAtTheProcess) {
  MemoryTrimmer trimmer;
  trimmer.Look(SteadyClock().Now(), true);
}

}  // namespace
}  // namespace longwave
