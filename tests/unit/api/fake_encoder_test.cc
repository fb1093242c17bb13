#include "model/api/fake_encoder.h"

#include <cmath>
#include <numeric>
#include <set>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/base/error.h"
#include "tests/unit/api/collecting_sink.h"

namespace longwave {
namespace {

using State = EncodeJob::State;
using ::testing::ElementsAreArray;

std::vector<int32_t> Ids(int count, int first = 1) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

EncoderBatch BatchOf(const std::vector<std::vector<int32_t>>& sequences) {
  EncoderBatch batch;
  for (const auto& ids : sequences) batch.Add(ids);
  return batch;
}

std::vector<float> Slice(const std::vector<float>& rows, int64_t dim, int64_t begin, int64_t end) {
  return {rows.begin() + begin * dim, rows.begin() + end * dim};
}

TEST(FakeRows, DependOnEveryIdAndOnThePosition) {
  const EncoderInfo info = FakeEncoderInfo();
  const OutputSpec all{.pooling = Pooling::kRows};
  const std::vector<float> rows = ExpectedFakeRows(info, Ids(3), all);
  ASSERT_EQ(rows.size(), 3 * info.dim);
  EXPECT_EQ(std::set<float>(rows.begin(), rows.end()).size(), rows.size());
  for (int changed = 0; changed < 3; ++changed) {
    std::vector<int32_t> other = Ids(3);
    other[changed] += 1;
    const std::vector<float> other_rows = ExpectedFakeRows(info, other, all);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_NE(rows[i], other_rows[i]);
  }
}

TEST(FakeRows, ATokensRowIsTheSameInEverySelection) {
  const EncoderInfo info = FakeEncoderInfo();
  const std::vector<int32_t> ids = Ids(10);
  const std::vector<float> all = ExpectedFakeRows(info, ids, {.pooling = Pooling::kRows});
  EXPECT_EQ(ExpectedFakeRows(info, ids, {.pooling = Pooling::kFirst}), Slice(all, info.dim, 0, 1));
  EXPECT_EQ(ExpectedFakeRows(info, ids, {.pooling = Pooling::kLast}), Slice(all, info.dim, 9, 10));
  const OutputSpec some{.pooling = Pooling::kRows, .row_ranges = {{4, 5}, {2, 3}}};
  std::vector<float> expected = Slice(all, info.dim, 4, 5);
  for (const float value : Slice(all, info.dim, 2, 3)) expected.push_back(value);
  EXPECT_EQ(ExpectedFakeRows(info, ids, some), expected);
}

TEST(FakeRows, LayersAreTruncatedNormalisedAndConcatenated) {
  const EncoderInfo info = FakeEncoderInfo();
  OutputSpec one{.layers = {1}, .truncate_dim = 8, .normalize = true};
  OutputSpec both = one;
  both.layers = {2, 1};
  const std::vector<float> row = ExpectedFakeRows(info, Ids(5), both);
  ASSERT_EQ(row.size(), 16);
  EXPECT_EQ(Slice(row, 8, 1, 2), ExpectedFakeRows(info, Ids(5), one));
  double squares = 0;
  for (int i = 0; i < 8; ++i) squares += row[i] * row[i];
  EXPECT_NEAR(squares, 1, 8 * 0x1p-23);
}

TEST(FakeEncoderTest, EveryPoolingGivesTheExpectedRows) {
  FakeEncoder encoder({.tokens_per_slice = 3, .rows_per_offer = 2});
  const std::vector<OutputSpec> outputs = {
      {.pooling = Pooling::kMean},
      {.pooling = Pooling::kFirst},
      {.pooling = Pooling::kLast},
      {.pooling = Pooling::kMax},
      {.pooling = Pooling::kSpans, .spans = {{0, 2}, {1, 7}}},
      {.pooling = Pooling::kRows},
      {.pooling = Pooling::kRows, .row_ranges = {{3, 7}, {0, 2}}, .row_stride = 2}};
  std::vector<std::vector<int32_t>> sequences;
  for (size_t s = 0; s < outputs.size(); ++s) sequences.push_back(Ids(7, 1 + 10 * s));
  CollectingSink sink;
  auto job = encoder.Begin(BatchOf(sequences), outputs, &sink);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(RunJob(**job).value(), State::kDone);
  for (size_t s = 0; s < outputs.size(); ++s) {
    EXPECT_TRUE(sink.result(s).end.value().ok());
    EXPECT_EQ(sink.result(s).rows, outputs[s].RowCount(7));
    EXPECT_THAT(sink.result(s).values,
                ElementsAreArray(encoder.ExpectedRows(sequences[s], outputs[s])));
  }
  EXPECT_EQ((*job)->Progress(), 1);
}

TEST(FakeEncoderTest, TakesThePredictedTimeAndSlices) {
  FakeClock clock;
  FakeEncoder encoder({.pace = FakePace::kFakeClock,
                       .clock = &clock,
                       .base_seconds = 0.5,
                       .seconds_per_token = 0.25,
                       .tokens_per_slice = 4});
  const CostPrediction cost = encoder.Predict(10, {}, Route::kAuto);
  EXPECT_EQ(cost.seconds, 3);
  EXPECT_EQ(cost.slices, 3);
  EXPECT_EQ(cost.route, Route::kChunkwise);
  CollectingSink sink;
  auto job = *encoder.Begin(BatchOf({Ids(10)}), {OutputSpec{}}, &sink);
  const Instant start = clock.Now();
  std::vector<double> times;
  std::vector<double> progress;
  State state = State::kMore;
  while (state == State::kMore) {
    state = job->Step().value();
    times.push_back(ToSeconds(clock.Now() - start));
    progress.push_back(job->Progress());
  }
  EXPECT_THAT(times, ElementsAreArray({1.5, 2.5, 3.0}));
  EXPECT_THAT(progress, ElementsAreArray({0.4, 0.8, 1.0}));
}

TEST(FakeEncoderTest, RefusedRowsAreOfferedAgainBeforeMoreIsComputed) {
  FakeClock clock;
  FakeEncoder encoder({.pace = FakePace::kFakeClock,
                       .clock = &clock,
                       .base_seconds = 0,
                       .seconds_per_token = 1,
                       .tokens_per_slice = 4,
                       .rows_per_offer = 3});
  const OutputSpec rows{.pooling = Pooling::kRows};
  CollectingSink sink;
  auto job = *encoder.Begin(BatchOf({Ids(8)}), {rows}, &sink);
  sink.Refuse(2);
  EXPECT_EQ(job->Step().value(), State::kBlocked);
  const Instant blocked = clock.Now();
  EXPECT_EQ(job->Step().value(), State::kBlocked);
  EXPECT_EQ(clock.Now(), blocked);
  EXPECT_EQ(sink.result(0).rows, 0);
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_THAT(sink.result(0).values, ElementsAreArray(encoder.ExpectedRows(Ids(8), rows)));
}

TEST(FakeEncoderTest, ADroppedSequenceCostsNothingMore) {
  FakeClock clock;
  FakeEncoder encoder({.pace = FakePace::kFakeClock,
                       .clock = &clock,
                       .base_seconds = 0,
                       .seconds_per_token = 1,
                       .tokens_per_slice = 4});
  CollectingSink sink;
  auto job = *encoder.Begin(BatchOf({Ids(4), Ids(100), Ids(4, 50)}), {{}, {}, {}}, &sink);
  EXPECT_EQ(job->Step().value(), State::kMore);
  job->Drop(1);
  const Instant dropped = clock.Now();
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_EQ(ToSeconds(clock.Now() - dropped), 4);
  EXPECT_FALSE(sink.result(1).end.has_value());
  EXPECT_TRUE(sink.result(2).end.value().ok());
}

TEST(FakeEncoderTest, FaultsStrikeTheirCallAndNoOther) {
  using Kind = FakeFault::Kind;
  using At = FakeFault::At;
  FakeEncoder encoder({.faults = {{Kind::kOutOfMemory, At::kBegin, 0},
                                  {Kind::kOutOfMemory, At::kStep, 0},
                                  {Kind::kJobError, At::kStep, 1},
                                  {Kind::kNonFiniteRow, At::kStep, 2, 1}}});
  CollectingSink sink;
  const auto begin = [&](RowSink* to) {
    return encoder.Begin(BatchOf({Ids(3), Ids(3)}), {{}, {}}, to);
  };
  EXPECT_EQ(GetErrorDetails(begin(&sink).status()).reason, ErrorReason::kOutOfMemory);
  EXPECT_EQ(GetErrorDetails((*begin(&sink))->Step().status()).reason, ErrorReason::kOutOfMemory);
  auto failing = *begin(&sink);
  EXPECT_EQ(failing->Step().status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(failing->Step().status().code(), absl::StatusCode::kInternal) << "a job stays failed";
  CollectingSink last;
  EXPECT_EQ((*begin(&last))->Step().value(), State::kDone);
  EXPECT_TRUE(last.result(0).end.value().ok());
  EXPECT_EQ(GetErrorDetails(last.result(1).end.value()).reason, ErrorReason::kNonFinite);
}

TEST(FakeEncoderTest, ALostDeviceStaysLost) {
  FakeEncoder encoder(
      {.tokens_per_slice = 1, .faults = {{FakeFault::Kind::kDeviceLost, FakeFault::At::kStep, 1}}});
  CollectingSink sink;
  auto job = *encoder.Begin(BatchOf({Ids(3)}), {{}}, &sink);
  EXPECT_TRUE(job->Step().ok());
  EXPECT_TRUE(encoder.Health().ok());
  EXPECT_EQ(GetErrorDetails(job->Step().status()).reason, ErrorReason::kDeviceLost);
  EXPECT_EQ(GetErrorDetails(encoder.Health()).reason, ErrorReason::kDeviceLost);
  EXPECT_FALSE(encoder.Begin(BatchOf({Ids(3)}), {{}}, &sink).ok());
  EXPECT_FALSE(sink.result(0).end.has_value()) << "a failed job says nothing of its sequences";
}

TEST(FakeEncoderTest, FaultsOfContent) {
  FakeEncoder encoder({.out_of_memory_above_tokens = 8, .poison_id = 666});
  CollectingSink sink;
  auto poisoned = *encoder.Begin(BatchOf({Ids(3), {5, 666}, Ids(3)}), {{}, {}, {}}, &sink);
  EXPECT_EQ(RunJob(*poisoned).value(), State::kDone);
  EXPECT_TRUE(sink.result(0).end.value().ok());
  EXPECT_EQ(GetErrorDetails(sink.result(1).end.value()).reason, ErrorReason::kNonFinite);
  EXPECT_TRUE(sink.result(2).end.value().ok());
  EXPECT_EQ(sink.result(1).rows, 0);
  CollectingSink other;
  auto large = *encoder.Begin(BatchOf({Ids(5), Ids(4)}), {{}, {}}, &other);
  EXPECT_EQ(GetErrorDetails(large->Step().status()).reason, ErrorReason::kOutOfMemory);
}

TEST(FakeEncoderTest, AHangLastsUntilItIsReleased) {
  FakeEncoder encoder({.faults = {{FakeFault::Kind::kHang, FakeFault::At::kStep, 0}}});
  CollectingSink sink;
  auto job = *encoder.Begin(BatchOf({Ids(3)}), {{}}, &sink);
  std::thread stepper([&] { EXPECT_EQ(job->Step().value(), State::kDone); });
  encoder.AwaitHang();
  EXPECT_FALSE(sink.result(0).end.has_value());
  encoder.Release();
  stepper.join();
  EXPECT_TRUE(sink.result(0).end.value().ok());
}

TEST(FakeEncoderTest, CountsCallsAndJobs) {
  FakeEncoder encoder;
  CollectingSink sink;
  {
    auto job = *encoder.Begin(BatchOf({Ids(3)}), {{}}, &sink);
    EXPECT_EQ(encoder.live_jobs(), 1);
    EXPECT_GT(job->ResidentBytes(), 0);
    EXPECT_TRUE(job->Step().ok());
    EXPECT_EQ(job->ResidentBytes(), 0);
  }
  EXPECT_EQ(encoder.live_jobs(), 0);
  EXPECT_EQ(encoder.begin_calls(), 1);
  EXPECT_EQ(encoder.step_calls(), 1);
}

TEST(FakeEncoderTest, RoutesAreTakenFromTheRequestWhereTheModelHasThem) {
  FakeEncoder encoder;
  EXPECT_TRUE(encoder.CheckRoute(5, Route::kFft).ok());
  EXPECT_EQ(GetErrorDetails(encoder.CheckRoute(5, Route::kInterpolation)).reason,
            ErrorReason::kRouteNotExact);
  EncoderBatch batch;
  batch.Add(Ids(3), Route::kFft);
  batch.Add(Ids(3));
  CollectingSink sink;
  EXPECT_EQ((*encoder.Begin(batch, {{}, {}}, &sink))->Step().value(), State::kDone);
  EXPECT_EQ(sink.result(0).report.route, Route::kFft);
  EXPECT_EQ(sink.result(1).report.route, Route::kChunkwise);
}

TEST(FakeEncoderTest, RefusesABatchThatBreaksTheRules) {
  FakeEncoder encoder;
  CollectingSink sink;
  EXPECT_EQ(encoder.Begin(BatchOf({{1000}}), {{}}, &sink).status().code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace longwave
