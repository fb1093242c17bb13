#include "server/admission/admission_policy.h"

#include "gtest/gtest.h"
#include "model/base/error.h"

namespace longwave {
namespace {

const Instant kNow = Instant(Nanoseconds(1'000'000'000));

Instant In(double seconds) { return kNow + FromSeconds(seconds); }

// A request of one sequence that takes a tenth of a second, an eighth at worst.
AdmissionRequest Request() {
  return {.takes = {.sequences = 1, .tokens = 1000, .host_bytes = 4000},
          .seconds = 0.1,
          .high_seconds = 0.125,
          .longest_seconds = 0.1};
}

AdmissionState Idle() { return {.now = kNow}; }

ErrorReason Reason(const AdmissionDecision& decision) {
  EXPECT_FALSE(decision.status.ok());
  return GetErrorDetails(decision.status).reason;
}

TEST(AdmissionPolicyTest, AnIdleServerKeepsNobodyWaiting) {
  const AdmissionDecision decision = DecideAdmission(Request(), Idle(), {});
  EXPECT_TRUE(decision.status.ok()) << decision.status;
  EXPECT_EQ(decision.wait_seconds, 0);
}

TEST(AdmissionPolicyTest, TheEarlierOfTwoPredictionsHolds) {
  AdmissionState state = Idle();
  state.total_seconds = 10;
  state.ahead_seconds = 0.4;
  state.rate = 0.5;
  // By its share: (0.4 + 0.1) / 0.5 = 1 s to the end.
  EXPECT_NEAR(DecideAdmission(Request(), state, {}).wait_seconds, 0.9, 1e-9);
  state.total_seconds = 0.2;  // there is less than that to do
  EXPECT_NEAR(DecideAdmission(Request(), state, {}).wait_seconds, 0.2, 1e-9);
}

TEST(AdmissionPolicyTest, ADeadlineThatWouldBeMissedIsRefusedAtTheDoor) {
  AdmissionState state = Idle();
  state.total_seconds = 1;
  state.ahead_seconds = 1;
  AdmissionRequest request = Request();
  request.deadline = In(1.127);  // 1 + 0.125 + the reply's millisecond
  EXPECT_TRUE(DecideAdmission(request, state, {}).status.ok());
  request.deadline = In(1.125);
  const AdmissionDecision late = DecideAdmission(request, state, {});
  EXPECT_EQ(Reason(late), ErrorReason::kDeadlineUnmeetable);
  const ErrorDetails details = GetErrorDetails(late.status);
  EXPECT_FALSE(details.retry_after.has_value()) << "the same deadline fails again";
  EXPECT_EQ(details.value, "1.126 s");
  EXPECT_EQ(details.limit, "1.125 s");
}

TEST(AdmissionPolicyTest, MatesThatMayRideAlongAreCountedBeforeADeadline) {
  AdmissionState state = Idle();
  state.total_seconds = state.ahead_seconds = 1;
  AdmissionRequest request = Request();
  request.deadline = In(1.3);
  EXPECT_TRUE(DecideAdmission(request, state, {}).status.ok());
  state.batch_seconds = 0.25;
  EXPECT_EQ(Reason(DecideAdmission(request, state, {})), ErrorReason::kDeadlineUnmeetable);
  request.deadline = In(1.38);
  EXPECT_TRUE(DecideAdmission(request, state, {}).status.ok());
  // Who finds nobody there rides with nobody.
  state = Idle();
  state.batch_seconds = 0.25;
  request.deadline = In(0.13);
  EXPECT_TRUE(DecideAdmission(request, state, {}).status.ok());
}

TEST(AdmissionPolicyTest, ALongWaitIsRefusedUnlessTheWorkIsLongToo) {
  AdmissionState state = Idle();
  state.total_seconds = state.ahead_seconds = 2.05;
  AdmissionRequest request = Request();
  EXPECT_TRUE(DecideAdmission(request, state, {.max_wait_seconds = 2}).status.ok());
  state.total_seconds = state.ahead_seconds = 3.1;
  const AdmissionDecision full = DecideAdmission(request, state, {.max_wait_seconds = 2});
  EXPECT_EQ(Reason(full), ErrorReason::kQueueFull);
  // Until the wait is what is allowed: 3.1 - (2 + 0.1).
  EXPECT_NEAR(ToSeconds(*GetErrorDetails(full.status).retry_after), 1, 1e-6);
  request.seconds = 1.2;
  EXPECT_TRUE(DecideAdmission(request, state, {.max_wait_seconds = 2}).status.ok());
}

TEST(AdmissionPolicyTest, TheBatchClassMayWaitLonger) {
  AdmissionState state = Idle();
  state.total_seconds = state.ahead_seconds = 5;
  AdmissionRequest request = Request();
  request.priority = Priority::kBatch;
  EXPECT_TRUE(DecideAdmission(request, state, {}).status.ok());
  EXPECT_EQ(Reason(DecideAdmission(request, state, {.max_batch_class_wait_seconds = 4})),
            ErrorReason::kQueueFull);
}

TEST(AdmissionPolicyTest, TheQueueIsBoundedInSequencesAndTokens) {
  AdmissionState state = Idle();
  state.all.sequences = 3;
  state.total_seconds = 0.5;
  const AdmissionDecision full = DecideAdmission(Request(), state, {.max_queue_sequences = 3});
  EXPECT_EQ(Reason(full), ErrorReason::kQueueFull);
  EXPECT_NEAR(ToSeconds(*GetErrorDetails(full.status).retry_after), 0.5, 1e-6);
  EXPECT_EQ(GetErrorDetails(full.status).limit, "3 sequences");
  state = Idle();
  state.all.tokens = 1;
  EXPECT_EQ(
      GetErrorDetails(DecideAdmission(Request(), state, {.max_queue_tokens = 1000}).status).limit,
      "1000 tokens");
}

TEST(AdmissionPolicyTest, WhatNoQueueWouldTakeIsNotWorthAnotherTry) {
  const AdmissionDecision never = DecideAdmission(Request(), Idle(), {.max_queue_tokens = 999});
  EXPECT_EQ(Reason(never), ErrorReason::kQueueFull);
  EXPECT_FALSE(GetErrorDetails(never.status).retry_after.has_value());
  const AdmissionDecision bytes = DecideAdmission(Request(), Idle(), {.max_host_bytes = 3999});
  EXPECT_EQ(Reason(bytes), ErrorReason::kMemoryFull);
  EXPECT_FALSE(GetErrorDetails(bytes.status).retry_after.has_value());
}

TEST(AdmissionPolicyTest, TheMemoryOfTheHostIsBounded) {
  AdmissionState state = Idle();
  state.all.host_bytes = 6001;
  const AdmissionDecision full = DecideAdmission(Request(), state, {.max_host_bytes = 10'000});
  EXPECT_EQ(Reason(full), ErrorReason::kMemoryFull);
  EXPECT_TRUE(GetErrorDetails(full.status).retry_after.has_value());
  state.all.host_bytes = 6000;
  EXPECT_TRUE(DecideAdmission(Request(), state, {.max_host_bytes = 10'000}).status.ok());
}

// Of ten sequences others hold two: half of the rest is four.
AdmissionState WithOthers(int64_t own) {
  AdmissionState state = Idle();
  state.all.sequences = 2 + own;
  return state;
}

TEST(AdmissionPolicyTest, TheBatchClassLeavesAsMuchFreeAsItHolds) {
  const AdmissionLimits limits{.max_queue_sequences = 10};
  AdmissionRequest request = Request();
  request.priority = Priority::kBatch;
  AdmissionState state = WithOthers(3);
  state.batch_class.sequences = 3;
  EXPECT_TRUE(DecideAdmission(request, state, limits).status.ok());
  state = WithOthers(4);
  state.batch_class.sequences = 4;
  const AdmissionDecision refused = DecideAdmission(request, state, limits);
  EXPECT_EQ(Reason(refused), ErrorReason::kQueueFull);
  EXPECT_EQ(GetErrorDetails(refused.status).limit, "4 sequences of the batch class");
  EXPECT_TRUE(GetErrorDetails(refused.status).retry_after.has_value());
  request.priority = Priority::kInteractive;
  EXPECT_TRUE(DecideAdmission(request, state, limits).status.ok());
}

TEST(AdmissionPolicyTest, ATenantWithANameLeavesAsMuchFreeAsItHolds) {
  const AdmissionLimits limits{.max_queue_sequences = 10};
  AdmissionState state = WithOthers(3);
  state.tenant = Holding{.sequences = 3};
  EXPECT_TRUE(DecideAdmission(Request(), state, limits).status.ok());
  state = WithOthers(4);
  state.tenant = Holding{.sequences = 4};
  const AdmissionDecision refused = DecideAdmission(Request(), state, limits);
  EXPECT_EQ(Reason(refused), ErrorReason::kQueueFull);
  EXPECT_EQ(GetErrorDetails(refused.status).limit, "4 sequences of one tenant");
  state.tenant.reset();
  EXPECT_TRUE(DecideAdmission(Request(), state, limits).status.ok()) << "no name, no others";
}

TEST(AdmissionPolicyTest, TokensAndMemoryAreSharedLikeTheQueue) {
  AdmissionState state = Idle();
  state.all = {.tokens = 1000, .host_bytes = 4000};
  state.tenant = state.all;
  EXPECT_TRUE(DecideAdmission(Request(), state, {.max_queue_tokens = 4000}).status.ok());
  const AdmissionDecision tokens = DecideAdmission(Request(), state, {.max_queue_tokens = 3999});
  EXPECT_EQ(Reason(tokens), ErrorReason::kQueueFull);
  EXPECT_EQ(GetErrorDetails(tokens.status).limit, "1999 tokens of one tenant");
  EXPECT_TRUE(DecideAdmission(Request(), state, {.max_host_bytes = 16'000}).status.ok());
  const AdmissionDecision bytes = DecideAdmission(Request(), state, {.max_host_bytes = 15'999});
  EXPECT_EQ(Reason(bytes), ErrorReason::kMemoryFull);
  EXPECT_EQ(GetErrorDetails(bytes.status).limit, "7999 bytes of one tenant");
}

TEST(AdmissionPolicyTest, WhoHoldsNothingMayTakeWhatIsFree) {
  AdmissionState state = Idle();
  state.tenant = Holding{};
  AdmissionRequest request = Request();
  request.priority = Priority::kBatch;
  EXPECT_TRUE(DecideAdmission(request, state, {.max_queue_sequences = 1}).status.ok());
}

TEST(AdmissionPolicyTest, AJobThatOutlastsTheGraceIsRefusedUnlessToldOtherwise) {
  AdmissionRequest request = Request();
  request.longest_seconds = 30.5;
  const AdmissionDecision never = DecideAdmission(request, Idle(), {.max_job_seconds = 30});
  EXPECT_EQ(Reason(never), ErrorReason::kExceedsGrace);
  EXPECT_EQ(never.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(DecideAdmission(request, Idle(), {.max_job_seconds = 0}).status.ok());
}

TEST(AdmissionPolicyTest, AnEmptyQuotaSaysWhenThereWillBeSome) {
  AdmissionState state = Idle();
  state.quota_wait_seconds = 1.5;
  const AdmissionDecision refused = DecideAdmission(Request(), state, {});
  EXPECT_EQ(Reason(refused), ErrorReason::kQuotaExceeded);
  EXPECT_NEAR(ToSeconds(*GetErrorDetails(refused.status).retry_after), 1.5, 1e-6);
}

}  // namespace
}  // namespace longwave
