#include "server/descriptor_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

namespace longwave {
namespace {

TEST(DescriptorLimitTest, TheSoftLimitBecomesTheHardOne) {
  struct rlimit original;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &original), 0);
  struct rlimit low = original;
  low.rlim_cur = 256;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  const DescriptorLimit limit = RaiseDescriptorLimit();
  EXPECT_EQ(limit.before, 256);
  EXPECT_GE(limit.now, 256);
  struct rlimit now;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
  EXPECT_EQ(now.rlim_cur, now.rlim_max);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &original), 0);
}

TEST(DescriptorLimitTest, SensibleIsAThousand) {
  EXPECT_FALSE(DescriptorLimit{.now = kSensibleDescriptors - 1}.sensible());
  EXPECT_TRUE(DescriptorLimit{.now = kSensibleDescriptors}.sensible());
}

}  // namespace
}  // namespace longwave
