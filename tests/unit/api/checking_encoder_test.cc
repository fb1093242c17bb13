#include "model/api/checking_encoder.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/api/fake_encoder.h"
#include "model/base/error.h"
#include "tests/unit/api/collecting_sink.h"

namespace longwave {
namespace {

using State = EncodeJob::State;
using ::testing::HasSubstr;

// Passes jobs on, with one value of one sequence's rows moved.
class SkewedEncoder final : public Encoder {
 public:
  SkewedEncoder(Encoder* inner, int sequence, int64_t row, float by)
      : inner_(*inner), sequence_(sequence), row_(row), by_(by) {}

  const EncoderInfo& Info() const override { return inner_.Info(); }
  absl::Status Health() const override { return inner_.Health(); }
  CostPrediction Predict(int64_t tokens, const OutputSpec& output, Route route) const override {
    return inner_.Predict(tokens, output, route);
  }
  absl::Status CheckRoute(int64_t tokens, Route route) const override {
    return inner_.CheckRoute(tokens, route);
  }
  absl::StatusOr<std::unique_ptr<EncodeJob>> Begin(EncoderBatch batch,
                                                   std::vector<OutputSpec> outputs,
                                                   RowSink* sink) override {
    sink_ = std::make_unique<Sink>(*this, sink);
    return inner_.Begin(std::move(batch), std::move(outputs), sink_.get());
  }

 private:
  struct Sink final : RowSink {
    Sink(const SkewedEncoder& skewed, RowSink* to) : encoder(skewed), out(*to) {}
    Answer Offer(int sequence, int64_t first_row, RowBlock rows) override {
      std::vector<float> values(rows.values.begin(), rows.values.end());
      if (sequence == encoder.sequence_ && first_row <= encoder.row_ &&
          encoder.row_ < first_row + rows.rows) {
        values[(encoder.row_ - first_row) * rows.dim] += encoder.by_;
      }
      return out.Offer(sequence, first_row, {values, rows.rows, rows.dim});
    }
    void Finish(int sequence, const SequenceReport& report) override {
      out.Finish(sequence, report);
    }
    void Fail(int sequence, absl::Status status) override { out.Fail(sequence, std::move(status)); }
    const SkewedEncoder& encoder;
    RowSink& out;
  };

  Encoder& inner_;
  const int sequence_;
  const int64_t row_;
  const float by_;
  std::unique_ptr<Sink> sink_;
};

EncoderBatch TwoSequences() {
  EncoderBatch batch;
  batch.Add({1, 2, 3, 4});
  batch.Add({5, 6, 7, 8});
  return batch;
}

const OutputSpec kRows{.pooling = Pooling::kRows};

TEST(CheckingEncoderTest, PassesOnWhatAgrees) {
  FakeEncoder fake({.tokens_per_slice = 3, .rows_per_offer = 1});
  FakeEncoder reference({.tokens_per_slice = 5});
  CheckingEncoder encoder(&fake, &reference, {.tolerance = 0});
  CollectingSink sink;
  auto job = *encoder.Begin(TwoSequences(), {kRows, kRows}, &sink);
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_EQ(sink.result(0).values, fake.ExpectedRows({1, 2, 3, 4}, kRows));
  EXPECT_EQ(sink.result(1).values, fake.ExpectedRows({5, 6, 7, 8}, kRows));
  EXPECT_TRUE(sink.result(1).end.value().ok());
  EXPECT_EQ(job->Progress(), 1);
}

TEST(CheckingEncoderTest, FailsTheSequenceThatDisagreesAndNoOther) {
  FakeEncoder fake({.rows_per_offer = 1});
  SkewedEncoder skewed(&fake, 0, 2, 0.01f);
  CheckingEncoder encoder(&skewed, &fake, {.tolerance = 1e-3});
  CollectingSink sink;
  auto job = *encoder.Begin(TwoSequences(), {kRows, kRows}, &sink);
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_EQ(sink.result(0).end.value().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(sink.result(0).end.value().message()), HasSubstr("row 2"));
  EXPECT_EQ(sink.result(0).rows, 2) << "nothing from the disagreement on";
  EXPECT_TRUE(sink.result(1).end.value().ok());
}

TEST(CheckingEncoderTest, ToleranceIsAShareOfTheRowsLargestValue) {
  FakeEncoder fake;
  const std::vector<float> row = fake.ExpectedRows({1, 2, 3, 4}, {});
  float largest = 0;
  for (const float value : row) largest = std::max(largest, std::abs(value));
  for (const bool within : {true, false}) {
    SkewedEncoder skewed(&fake, 0, 0, largest * (within ? 0.09f : 0.11f));
    CheckingEncoder encoder(&skewed, &fake, {.tolerance = 0.1});
    CollectingSink sink;
    auto job = *encoder.Begin(TwoSequences(), {{}, {}}, &sink);
    EXPECT_EQ(RunJob(*job).value(), State::kDone);
    EXPECT_EQ(sink.result(0).end.value().ok(), within);
  }
}

TEST(CheckingEncoderTest, NotANumberNeverAgrees) {
  FakeEncoder fake;
  SkewedEncoder skewed(&fake, 1, 0, std::nanf(""));
  for (const bool in_reference : {false, true}) {
    CheckingEncoder encoder(in_reference ? static_cast<Encoder*>(&fake) : &skewed,
                            in_reference ? static_cast<Encoder*>(&skewed) : &fake,
                            {.tolerance = 1e9});
    CollectingSink sink;
    auto job = *encoder.Begin(TwoSequences(), {{}, {}}, &sink);
    EXPECT_EQ(RunJob(*job).value(), State::kDone);
    EXPECT_TRUE(sink.result(0).end.value().ok());
    EXPECT_FALSE(sink.result(1).end.value().ok());
  }
}

TEST(CheckingEncoderTest, RefusedRowsBlockThePrimaryOnly) {
  FakeEncoder fake;
  CheckingEncoder encoder(&fake, &fake, {});
  CollectingSink sink;
  sink.Refuse(1);
  auto job = *encoder.Begin(TwoSequences(), {kRows, kRows}, &sink);
  EXPECT_EQ(RunJob(*job).value(), State::kBlocked);
  EXPECT_GT(job->ResidentBytes(), 0);
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_EQ(sink.result(1).values, fake.ExpectedRows({5, 6, 7, 8}, kRows));
}

TEST(CheckingEncoderTest, ADroppedSequenceGetsNoCall) {
  FakeEncoder fake({.tokens_per_slice = 2});
  for (const int before : {0, 1, 3, 5}) {  // steps: within the reference, at its end, after
    CheckingEncoder encoder(&fake, &fake, {});
    CollectingSink sink;
    auto job = *encoder.Begin(TwoSequences(), {{}, {}}, &sink);
    for (int i = 0; i < before; ++i) ASSERT_EQ(job->Step().value(), State::kMore);
    job->Drop(1);
    EXPECT_EQ(RunJob(*job).value(), State::kDone);
    EXPECT_TRUE(sink.result(0).end.value().ok());
    EXPECT_FALSE(sink.result(1).end.has_value());
  }
}

TEST(CheckingEncoderTest, TheReferencesFailuresCount) {
  FakeEncoder fake;
  FakeEncoder poisoned({.poison_id = 6});
  CheckingEncoder encoder(&fake, &poisoned, {});
  CollectingSink sink;
  auto job = *encoder.Begin(TwoSequences(), {{}, {}}, &sink);
  EXPECT_EQ(RunJob(*job).value(), State::kDone);
  EXPECT_TRUE(sink.result(0).end.value().ok());
  EXPECT_EQ(GetErrorDetails(sink.result(1).end.value()).reason, ErrorReason::kNonFinite);
}

TEST(CheckingEncoderTest, TheReferenceTakesItsOwnRouteAndItsCostIsCounted) {
  FakeEncoder fake;
  CheckingEncoder encoder(&fake, &fake, {.reference_route = Route::kDirect});
  EXPECT_EQ(encoder.Predict(100, {}, Route::kFft).route, Route::kFft);
  EXPECT_EQ(encoder.Predict(100, {}, Route::kFft).seconds,
            2 * fake.Predict(100, {}, Route::kFft).seconds);
  CheckingEncoder impossible(&fake, &fake, {.reference_route = Route::kInterpolation});
  EXPECT_FALSE(impossible.CheckRoute(100, Route::kFft).ok());
}

}  // namespace
}  // namespace longwave
