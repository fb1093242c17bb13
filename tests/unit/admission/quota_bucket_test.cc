#include "server/admission/quota_bucket.h"

#include "gtest/gtest.h"

namespace longwave {
namespace {

const Instant kStart = Instant(Nanoseconds(1'000'000'000));

Instant At(double seconds) { return kStart + FromSeconds(seconds); }

TEST(QuotaBucketTest, WithoutAQuotaNobodyWaits) {
  QuotaBucket bucket({}, kStart);
  bucket.Take(1e9, kStart);
  EXPECT_EQ(bucket.WaitSeconds(kStart), 0);
}

TEST(QuotaBucketTest, TheLongRunIsTheShare) {
  QuotaBucket bucket({.max_compute_share = 0.25, .burst_seconds = 2}, kStart);
  double taken = 0;
  for (double now = 0; now < 1000; now += 0.01) {
    if (bucket.WaitSeconds(At(now)) > 0) continue;
    bucket.Take(0.1, At(now));
    taken += 0.1;
  }
  EXPECT_NEAR(taken, 2 + 0.25 * 1000, 0.2);
}

TEST(QuotaBucketTest, ALongRequestGoesIntoDebtAndTheWaitSaysForHowLong) {
  QuotaBucket bucket({.max_compute_share = 0.5, .burst_seconds = 1}, kStart);
  ASSERT_EQ(bucket.WaitSeconds(kStart), 0);
  bucket.Take(11, kStart);
  const double wait = bucket.WaitSeconds(kStart);
  EXPECT_NEAR(wait, 20, 0.01);
  EXPECT_GT(bucket.WaitSeconds(At(wait - 0.1)), 0);
  EXPECT_EQ(bucket.WaitSeconds(At(wait + 0.001)), 0);
}

TEST(QuotaBucketTest, IdleTimeIsSavedUpToTheBurst) {
  QuotaBucket bucket({.max_compute_share = 0.5, .burst_seconds = 1}, kStart);
  bucket.Take(1, At(10'000));
  EXPECT_GT(bucket.WaitSeconds(At(10'000)), 0);
}

TEST(QuotaBucketTest, WithoutABurstTheLongRunIsTheShareAllTheSame) {
  QuotaBucket bucket({.max_compute_share = 0.25, .burst_seconds = 0}, kStart);
  double taken = 0;
  for (double now = 0; now < 1000; now += 0.01) {
    if (bucket.WaitSeconds(At(now)) > 0) continue;
    bucket.Take(0.1, At(now));
    taken += 0.1;
  }
  EXPECT_NEAR(taken, 0.25 * 1000, 10);
}

TEST(QuotaBucketTest, AChangedQuotaHoldsFromNowOnAndDebtsStay) {
  QuotaBucket bucket({.max_compute_share = 0.5, .burst_seconds = 1}, kStart);
  bucket.Take(6, kStart);
  bucket.Follow({.max_compute_share = 0.1, .burst_seconds = 1}, At(2));
  EXPECT_NEAR(bucket.WaitSeconds(At(2)), 40, 0.1) << "four seconds of debt at the new rate";
  bucket.Follow({}, At(2));
  EXPECT_EQ(bucket.WaitSeconds(At(2)), 0);
  bucket.Follow({.max_compute_share = 0.1, .burst_seconds = 3}, At(3));
  bucket.Take(4, At(3));
  EXPECT_NEAR(bucket.WaitSeconds(At(3)), 10, 0.1) << "who had no quota begins with the burst";
}

TEST(QuotaBucketTest, FollowingTheSameQuotaChangesNothing) {
  const Tenant tenant{.max_compute_share = 0.5, .burst_seconds = 1};
  QuotaBucket bucket(tenant, kStart);
  bucket.Take(2, kStart);
  for (int i = 1; i <= 10; ++i) bucket.Follow(tenant, At(0.1 * i));
  EXPECT_NEAR(bucket.WaitSeconds(At(1)), 1, 0.01);
}

}  // namespace
}  // namespace longwave
