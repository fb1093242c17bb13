// What is let in, and how tenants, due work and several models share the engine.
#include <map>
#include <string>

#include "tests/unit/scheduling/scheduler_fixture.h"

namespace longwave {
namespace {

class SchedulerAdmission : public SchedulerTest {
 protected:
  std::shared_ptr<const Tenant> TenantOf(const std::string& name, double share = 1) {
    return std::make_shared<Tenant>(Tenant{.name = name, .share = share});
  }
  absl::StatusOr<Consumer> Try(int64_t tokens, RequestTerms terms,
                               std::shared_ptr<ServedModel> model = nullptr) {
    scheduler();
    auto consumer = std::make_shared<RecordingConsumer>();
    std::vector<SequenceTask> tasks;
    tasks.push_back({.model = model == nullptr ? model_ : std::move(model),
                     .token_ids = Ids(tokens, next_id_ += 7),
                     .consumer = consumer});
    const auto ticket = scheduler().Submit(std::move(tasks), terms);
    if (!ticket.ok()) return ticket.status();
    return consumer;
  }
  Consumer Must(int64_t tokens, RequestTerms terms = {},
                std::shared_ptr<ServedModel> model = nullptr) {
    auto consumer = Try(tokens, std::move(terms), std::move(model));
    EXPECT_TRUE(consumer.ok()) << consumer.status();
    return *consumer;
  }
  ErrorReason Why(int64_t tokens, RequestTerms terms) {
    const auto consumer = Try(tokens, std::move(terms));
    EXPECT_FALSE(consumer.ok());
    return GetErrorDetails(consumer.status()).reason;
  }
  absl::Status Verdict(int64_t tokens, const RequestTerms& terms) {
    scheduler();
    const OutputSpec output;
    return scheduler().Foresee(*model_, {{.tokens = tokens, .output = &output}}, terms).verdict;
  }
};

// Each of its requests finds it without any: it must be known all the same.
TEST_F(SchedulerAdmission, ATenantThatSendsOneAtATimeGetsNoMoreThanItsShare) {
  const RequestTerms greedy{.tenant = TenantOf("greedy")};
  const RequestTerms sly{.tenant = TenantOf("sly")};
  std::vector<Consumer> backlog;
  for (int i = 0; i < 200; ++i) backlog.push_back(Must(100, greedy));
  double slyly = 0;
  Consumer one = Must(90, sly);
  while (Seconds(clock_.Now()) < 10) {
    RunSlices(1);
    if (!one->end.has_value()) continue;
    slyly += 0.09;
    one = Must(90, sly);
  }
  EXPECT_NEAR(slyly, 5, 2 * JobSelector::kSavedSeconds);
  Run();
}

TEST_F(SchedulerAdmission, AQuotaThatWasChangedHoldsAtOnce) {
  const auto quota = [](double share) {
    return RequestTerms{.tenant = std::make_shared<Tenant>(
                            Tenant{.name = "a", .max_compute_share = share, .burst_seconds = 1})};
  };
  Must(10'000, quota(0.1));
  EXPECT_EQ(Why(10, quota(100)), ErrorReason::kQuotaExceeded);
  RunSlices(20);  // nine seconds of debt are a tenth of a second's worth now
  Must(10, quota(100));
  Run();
}

TEST_F(SchedulerAdmission, AnUnmeetableDeadlineIsRefusedAndNothingIsTaken) {
  Must(1000);  // a second of work
  Must(100'000, {.priority = Priority::kBatch});
  const SchedulerView before = scheduler().View();
  EXPECT_EQ(Why(1000, {.deadline = In(1.5)}), ErrorReason::kDeadlineUnmeetable);
  EXPECT_EQ(Verdict(1000, {.deadline = In(1.5)}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(scheduler().View().queued_sequences, before.queued_sequences);
  EXPECT_TRUE(Verdict(1000, {.deadline = In(3)}).ok());
  const Consumer late = Must(1000, {.deadline = In(3)});
  while (!late->end.has_value()) RunSlices(1);
  EXPECT_TRUE(late->ok()) << "what was let in ends in time";
  scheduler().AwaitIdle(Instant::min());
  Run();
}

TEST_F(SchedulerAdmission, AShortRequestIsLetInBesideALongOneThatRuns) {
  Must(100'000);
  RunSlices(1);
  // A hundred seconds of work are there, and a short request waits for a slice of them.
  const Consumer prompt = Must(10, {.deadline = In(0.05)});
  RunSlices(2);
  EXPECT_TRUE(prompt->ok());
}

TEST_F(SchedulerAdmission, ForeseeSaysWhatSubmitWouldDo) {
  options_.admission.max_wait_seconds = 1;
  int refused = 0;
  for (int i = 0; i < 60; ++i) {
    const RequestTerms terms{.deadline = i % 3 == 0 ? In(0.1 * i) : kNever};
    const ErrorReason foreseen = GetErrorDetails(Verdict(40 + i, terms)).reason;
    const bool fine = Verdict(40 + i, terms).ok();
    const auto consumer = Try(40 + i, terms);
    EXPECT_EQ(consumer.ok(), fine);
    if (consumer.ok()) continue;
    ++refused;
    EXPECT_EQ(GetErrorDetails(consumer.status()).reason, foreseen);
  }
  EXPECT_GT(refused, 10);
  EXPECT_LT(refused, 55);
}

TEST_F(SchedulerAdmission, TenantsShareTheEngineByTheirShares) {
  options_.max_batch_sequences = 1;
  const auto large = TenantOf("large", 3);
  const auto small = TenantOf("small", 1);
  std::map<std::string, std::vector<Consumer>> consumers;
  for (int i = 0; i < 200; ++i) {
    for (const auto& tenant : {large, small}) {
      consumers[tenant->name].push_back(Must(10, {.tenant = tenant}));
    }
  }
  RunSlices(100);
  const auto done = [&](const std::string& name) {
    return std::count_if(consumers[name].begin(), consumers[name].end(),
                         [](const Consumer& consumer) { return consumer->ok(); });
  };
  EXPECT_NEAR(done("large"), 75, 6);
  EXPECT_NEAR(done("small"), 25, 6);
}

TEST_F(SchedulerAdmission, AFloodOfOneTenantDelaysAnotherByASliceOnly) {
  const auto flood = TenantOf("flood");
  for (int i = 0; i < 500; ++i) Must(100, {.tenant = flood});
  RunSlices(7);
  const Consumer other = Must(10, {.deadline = In(0.1), .tenant = TenantOf("other")});
  RunSlices(2);
  EXPECT_TRUE(other->ok());
}

TEST_F(SchedulerAdmission, AFloodIsRefusedAndTheOthersAreNot) {
  options_.admission.max_wait_seconds = 1;
  const auto flood = TenantOf("flood");
  const auto other = TenantOf("other");
  Must(100, {.tenant = other});
  int taken = 0;
  for (int i = 0; i < 100; ++i) taken += Try(100, {.tenant = flood}).ok() ? 1 : 0;
  EXPECT_GT(taken, 5);
  EXPECT_LT(taken, 30);
  EXPECT_TRUE(Try(100, {.tenant = other}).ok());
}

TEST_F(SchedulerAdmission, TheBatchClassDoesNotFillTheQueue) {
  options_.admission.max_queue_sequences = 8;
  options_.max_batch_sequences = 1;
  std::vector<Consumer> taken;
  for (int i = 0; i < 4; ++i) taken.push_back(Must(10, {.priority = Priority::kBatch}));
  EXPECT_EQ(Why(10, {.priority = Priority::kBatch}), ErrorReason::kQueueFull);
  Must(10, {});
  RunSlices(3);  // of the batch class at least one
  Must(10, {.priority = Priority::kBatch});
  Run();
}

TEST_F(SchedulerAdmission, OneTenantDoesNotFillTheQueue) {
  options_.admission.max_queue_sequences = 8;
  const RequestTerms greedy{.tenant = TenantOf("greedy")};
  for (int i = 0; i < 2; ++i) Must(10, greedy);
  // The two classes of a tenant are one tenant.
  for (int i = 0; i < 2; ++i) Must(10, {.priority = Priority::kBatch, .tenant = greedy.tenant});
  EXPECT_EQ(Why(10, greedy), ErrorReason::kQueueFull);
  for (const char* name : {"b", "c"}) Must(10, {.tenant = TenantOf(name)});
  Run();
  Must(10, greedy);
  Run();
}

TEST_F(SchedulerAdmission, OneTenantDoesNotFillTheQueueWithTokens) {
  options_.admission.max_queue_tokens = 10'000;
  Must(5000, {.tenant = TenantOf("greedy")});
  EXPECT_EQ(Why(10, {.tenant = TenantOf("greedy")}), ErrorReason::kQueueFull);
  Must(5000, {.tenant = TenantOf("b")});
  Run();
}

TEST_F(SchedulerAdmission, OneTenantDoesNotTakeAllMemory) {
  options_.admission.max_host_bytes = 8'000;
  const RequestTerms greedy{.tenant = TenantOf("greedy"), .reply_bytes = 600};
  for (int i = 0; i < 4; ++i) Must(100, greedy);
  RunSlices(1);  // no matter whether it waits
  EXPECT_EQ(Why(10, greedy), ErrorReason::kMemoryFull);
  Must(100, {.tenant = TenantOf("b"), .reply_bytes = 3600});
  Run();
  Must(10, greedy);
  Run();
}

TEST_F(SchedulerAdmission, RepliesThatAreNotReadCountAgainstTheirTenantAndClass) {
  options_.admission.max_host_bytes = 8'000;
  const auto reply = std::make_shared<HostReservation>();
  Must(10, {.priority = Priority::kBatch,
            .tenant = TenantOf("deaf"),
            .reply_bytes = 4'000,
            .reply = reply});
  Run();
  EXPECT_EQ(Why(10, {.tenant = TenantOf("deaf")}), ErrorReason::kMemoryFull);
  EXPECT_EQ(Why(10, {.priority = Priority::kBatch}), ErrorReason::kMemoryFull);
  Must(500, {.tenant = TenantOf("b")});
  Run();
}

// Half of the limit each would leave none to a third.
TEST_F(SchedulerAdmission, ManyGreedyTenantsLeaveAPlaceForAnother) {
  options_.admission.max_queue_sequences = 100;
  for (int i = 0; i < 200; ++i) {
    for (const char* name : {"a", "b", "c"}) (void)Try(10, {.tenant = TenantOf(name)});
  }
  EXPECT_EQ(scheduler().View().queued_sequences, 75);
  Must(10, {.tenant = TenantOf("d")});
  Run();
}

TEST_F(SchedulerAdmission, WithoutTenantsTheWholeQueueIsTheirs) {
  options_.admission.max_queue_sequences = 8;
  for (int i = 0; i < 8; ++i) Must(10, {});
  EXPECT_EQ(Why(10, {}), ErrorReason::kQueueFull);
  Run();
}

TEST_F(SchedulerAdmission, MatesOfOtherTenantsTakeNoMoreThanASliceOfTheFirst) {
  const auto flood = TenantOf("flood");
  const auto other = TenantOf("other");
  for (int i = 0; i < 10; ++i) Must(10, {.tenant = flood});
  RunSlices(1);  // ten of the flood, alone
  for (int i = 0; i < 10; ++i) Must(10, {.tenant = flood});
  std::vector<Consumer> others;
  for (int i = 0; i < 2; ++i) others.push_back(Must(10, {.tenant = other}));
  while (!others.back()->end.has_value()) RunSlices(1);
  EXPECT_THAT(observer_.batches,
              ::testing::ElementsAre(::testing::Pair(10, 100), ::testing::Pair(3, 30)));
}

TEST_F(SchedulerAdmission, AQuotaLetsInItsShareAndSaysWhenThereIsMore) {
  options_.max_batch_sequences = 1;
  const auto tenant = std::make_shared<Tenant>(
      Tenant{.name = "limited", .max_compute_share = 0.5, .burst_seconds = 1});
  for (int i = 0; i < 10; ++i) Must(100, {.tenant = tenant});
  const auto refused = Try(100, {.tenant = tenant});
  ASSERT_FALSE(refused.ok());
  const ErrorDetails details = GetErrorDetails(refused.status());
  EXPECT_EQ(details.reason, ErrorReason::kQuotaExceeded);
  ASSERT_TRUE(details.retry_after.has_value());
  EXPECT_TRUE(Try(100, {}).ok()) << "others have nothing to do with it";
  Run();
  EXPECT_TRUE(Try(100, {.tenant = tenant}).ok()) << "a second has passed";
}

// A request of 0.4 s beside ever more short ones of its tenant, which the fair order alone would
// always put first.
TEST_F(SchedulerAdmission, WhatWouldBeLateHasEverySecondSlice) {
  options_.max_batch_sequences = 1;
  const Consumer due = Must(400, {.deadline = In(2)});
  const Consumer calm = Must(400, {.deadline = In(1000)});
  std::vector<Consumer> shorts;
  while (!due->end.has_value()) {
    shorts.push_back(Must(10));
    RunSlices(1);
  }
  const auto others = std::count_if(shorts.begin(), shorts.end(),
                                    [](const Consumer& consumer) { return consumer->ok(); });
  EXPECT_TRUE(due->ok());
  EXPECT_FALSE(calm->end.has_value());
  EXPECT_GT(others, 100) << "and no more than that";
}

TEST_F(SchedulerAdmission, ModelsDoNotRideTogetherAndEachAnswersForItself) {
  scheduler();
  auto other_encoder = std::make_shared<FakeEncoder>(encoder_options_);
  auto other = std::make_shared<ServedModel>(other_encoder);
  const Consumer first = Must(10);
  const Consumer second = Must(10, {}, other);
  const Consumer third = Must(10);
  other_encoder->AddFault(
      {.kind = FakeFault::Kind::kDeviceLost, .at = FakeFault::At::kStep, .call = 0});
  Run();
  EXPECT_TRUE(first->ok());
  EXPECT_EQ(first->times.batch_sequences, 2) << "with the third";
  EXPECT_TRUE(third->ok());
  EXPECT_EQ(second->reason(), ErrorReason::kDeviceLost);
  EXPECT_EQ(second->times.batch_sequences, 1);
}

TEST_F(SchedulerAdmission, WhatIsNotNeededAnyMoreIsGivenBack) {
  options_.admission.max_host_bytes = 1000;
  EXPECT_EQ(Why(100, {.reply_bytes = 601}), ErrorReason::kMemoryFull);
  for (int i = 0; i < 10; ++i) {
    Must(100, {.tenant = TenantOf("t" + std::to_string(i)), .reply_bytes = 600});
    EXPECT_EQ(Why(1, {}), ErrorReason::kMemoryFull);
    Run();
  }
}

TEST_F(SchedulerAdmission, WhatAReplyTakesIsGivenBackByWhoHoldsIt) {
  options_.admission.max_host_bytes = 1000;
  auto reply = std::make_shared<HostReservation>();
  Must(100, {.reply_bytes = 500, .reply = reply});
  EXPECT_EQ(Why(26, {}), ErrorReason::kMemoryFull) << "100 bytes are left";
  Run();
  EXPECT_EQ(Why(126, {}), ErrorReason::kMemoryFull) << "the ids are back, the reply is not";
  Must(125);
  Run();
  reply.reset();
  Must(250);
  Run();
}

TEST_F(SchedulerAdmission, ARefusedRequestReservesNothingForItsReply) {
  options_.admission.max_host_bytes = 1000;
  const auto reply = std::make_shared<HostReservation>();
  EXPECT_EQ(Why(1, {.reply_bytes = 1000, .reply = reply}), ErrorReason::kMemoryFull);
  Must(250);
  Run();
}

TEST_F(SchedulerAdmission, AReplyMayOutliveTheScheduler) {
  const auto reply = std::make_shared<HostReservation>();
  Must(1, {.reply_bytes = 1, .reply = reply});
  Run();
  scheduler_.reset();
}

TEST_F(SchedulerAdmission, TheCostModelLearnsFromJobsThatEnd) {
  encoder_options_.time_factor = 3;
  for (int i = 0; i < 100; ++i) {
    Must(100 + i);
    Run();
  }
  const OutputSpec output;
  const Forecast forecast = scheduler().Foresee(*model_, {{.tokens = 200, .output = &output}}, {});
  EXPECT_NEAR(forecast.seconds, 0.6, 0.03);
  EXPECT_EQ(Why(200, {.deadline = In(0.5)}), ErrorReason::kDeadlineUnmeetable);
}

}  // namespace
}  // namespace longwave
