// What a job promises at its seams: slices, a sink that refuses, sequences that are dropped or
// fail, memory.
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/resource.h>

#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>

#include "model/base/error.h"
#include "tests/unit/encoder/encode.h"

namespace longwave {
namespace {

const OutputSpec kMean{.pooling = Pooling::kMean};
const OutputSpec kAllRows{.pooling = Pooling::kRows};

std::unique_ptr<EncodeJob> Begin(Encoder& encoder, const std::vector<int64_t>& lengths,
                                 const OutputSpec& output, RowSink& sink) {
  EncoderBatch batch;
  for (size_t s = 0; s < lengths.size(); ++s) {
    batch.Add(RandomTokens(lengths[s], encoder.Info().vocab_size, static_cast<uint32_t>(s)));
  }
  auto job =
      encoder.Begin(std::move(batch), std::vector<OutputSpec>(lengths.size(), output), &sink);
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

std::vector<float> Alone(Encoder& encoder, int64_t length, uint32_t seed,
                         const OutputSpec& output) {
  return EncodeOne(encoder, RandomTokens(length, encoder.Info().vocab_size, seed), output);
}

int CountSteps(EncodeJob& job) {
  int steps = 0;
  absl::StatusOr<EncodeJob::State> state = EncodeJob::State::kMore;
  while (state.ok() && *state != EncodeJob::State::kDone && steps < 100'000) {
    state = job.Step();
    ++steps;
  }
  EXPECT_TRUE(state.ok()) << state.status();
  return steps;
}

class EncodeJobTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { encoder_ = MakeEncoder(RandomModel(SmallConfig(), 1)).release(); }
  static void TearDownTestSuite() { delete encoder_; }
  static TransformerEncoder& encoder() { return *encoder_; }

 private:
  static TransformerEncoder* encoder_;
};
TransformerEncoder* EncodeJobTest::encoder_ = nullptr;

TEST_F(EncodeJobTest, ALongSequenceTakesManySlicesAndProgressNeverFalls) {
  CollectingSink sink;
  const auto job = Begin(encoder(), {30'000}, kMean, sink);
  double progress = job->Progress();
  int steps = 0;
  for (EncodeJob::State state = EncodeJob::State::kMore; state != EncodeJob::State::kDone;
       ++steps) {
    const auto next = job->Step();
    ASSERT_TRUE(next.ok()) << next.status();
    state = *next;
    EXPECT_GE(job->Progress(), progress);
    EXPECT_LE(job->Progress(), 1.0);
    progress = job->Progress();
  }
  EXPECT_GT(steps, 5);
  EXPECT_EQ(progress, 1.0);
  const int64_t predicted = encoder().Predict(30'000, kMean, Route::kAuto).slices;
  EXPECT_NEAR(steps, predicted, 0.3 * static_cast<double>(predicted));
}

TEST_F(EncodeJobTest, TheCutIntoSlicesIsTheSameInEveryRun) {
  CollectingSink first_sink;
  CollectingSink second_sink;
  const std::vector<int64_t> lengths = {20'000, 5, 700};
  EXPECT_EQ(CountSteps(*Begin(encoder(), lengths, kMean, first_sink)),
            CountSteps(*Begin(encoder(), lengths, kMean, second_sink)));
}

TEST_F(EncodeJobTest, AShortSequenceTakesAtMostOneStepALayer) {
  CollectingSink sink;
  EXPECT_LE(CountSteps(*Begin(encoder(), {100}, kMean, sink)), encoder().Info().layers);
  EXPECT_EQ(sink.result(0).rows, 1);
}

TEST_F(EncodeJobTest, RefusedRowsAreOfferedAgainUntilTheyAreTaken) {
  const std::vector<float> expected = Alone(encoder(), 20'000, 0, kAllRows);
  CollectingSink sink;
  const auto job = Begin(encoder(), {20'000}, kAllRows, sink);
  int blocked = 0;
  for (EncodeJob::State state = EncodeJob::State::kMore; state != EncodeJob::State::kDone;) {
    // Every second offer is refused.
    sink.Refuse(state == EncodeJob::State::kBlocked ? 0 : 1);
    const auto next = job->Step();
    ASSERT_TRUE(next.ok()) << next.status();
    state = *next;
    if (state == EncodeJob::State::kBlocked) ++blocked;
  }
  EXPECT_GE(blocked, 1);
  EXPECT_EQ(sink.result(0).rows, 20'000);
  EXPECT_EQ(sink.result(0).values, expected);
}

TEST_F(EncodeJobTest, ABlockedJobStaysBlockedWhileTheSinkRefuses) {
  CollectingSink sink;
  const auto job = Begin(encoder(), {300}, kAllRows, sink);
  sink.Refuse(3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*RunJob(*job), EncodeJob::State::kBlocked);
  EXPECT_FALSE(sink.result(0).end.has_value());
  EXPECT_EQ(*job->Step(), EncodeJob::State::kDone);
  EXPECT_EQ(sink.result(0).rows, 300);
}

TEST_F(EncodeJobTest, ADroppedSequenceGetsNoCallAndItsMatesTheirBits) {
  const std::vector<int64_t> lengths = {300, 50'000, 64, 5000};
  // Before the first step, then after more and more of them.
  for (const int steps_before : {0, 1, 2, 4, 6}) {
    CollectingSink sink;
    const auto job = Begin(encoder(), lengths, kMean, sink);
    for (int i = 0; i < steps_before; ++i) ASSERT_EQ(*job->Step(), EncodeJob::State::kMore);
    job->Drop(1);
    job->Drop(1);  // of no consequence
    ASSERT_EQ(*RunJob(*job), EncodeJob::State::kDone);
    EXPECT_EQ(sink.result(1).rows, 0);
    EXPECT_FALSE(sink.result(1).end.has_value());
    for (const int s : {0, 2, 3}) {
      EXPECT_EQ(sink.result(s).values,
                Alone(encoder(), lengths[s], static_cast<uint32_t>(s), kMean));
    }
  }
}

TEST_F(EncodeJobTest, ADroppedSequenceCostsNoFurtherWork) {
  CollectingSink sink;
  const int alone = CountSteps(*Begin(encoder(), {300}, kMean, sink));
  CollectingSink dropping_sink;
  const auto job = Begin(encoder(), {300, 60'000}, kMean, dropping_sink);
  job->Drop(1);
  EXPECT_LE(CountSteps(*job), alone + 1);
}

TEST_F(EncodeJobTest, AJobWhoseSequencesAreAllDroppedIsDone) {
  CollectingSink sink;
  const auto job = Begin(encoder(), {20'000, 30}, kAllRows, sink);
  EXPECT_EQ(*job->Step(), EncodeJob::State::kMore);
  job->Drop(0);
  job->Drop(1);
  EXPECT_EQ(*job->Step(), EncodeJob::State::kDone);
  EXPECT_LT(job->ResidentBytes(), 1 << 20);
}

TEST_F(EncodeJobTest, DroppingABlockedSequenceFreesTheNext) {
  CollectingSink sink;
  const auto job = Begin(encoder(), {300, 40}, kAllRows, sink);
  sink.Refuse(1);
  EXPECT_EQ(*RunJob(*job), EncodeJob::State::kBlocked);
  job->Drop(0);
  EXPECT_EQ(*job->Step(), EncodeJob::State::kDone);
  EXPECT_EQ(sink.result(0).rows, 0);
  EXPECT_EQ(sink.result(1).values, Alone(encoder(), 40, 1, kAllRows));
}

TEST_F(EncodeJobTest, LayersThatNobodyWantsAreNotComputed) {
  CollectingSink all_sink;
  const int all = CountSteps(*Begin(encoder(), {90'000}, kMean, all_sink));
  const OutputSpec first{.pooling = Pooling::kMean, .layers = {0, 1}};
  CollectingSink first_sink;
  const int one_of_three = CountSteps(*Begin(encoder(), {90'000}, first, first_sink));
  // One layer of three, and the embedding with its first touch of memory before any.
  EXPECT_LT(one_of_three, 2.0 / 3 * all);
  EXPECT_EQ(first_sink.result(0).values.size(), 2u * 48);
  EXPECT_LT(encoder().Predict(60'000, first, Route::kAuto).seconds,
            0.5 * encoder().Predict(60'000, kMean, Route::kAuto).seconds);
}

TEST_F(EncodeJobTest, SpansOverAndOverTheSameTokensArePredictedToCost) {
  const OutputSpec once{.pooling = Pooling::kSpans, .spans = {{0, 60'000}}};
  OutputSpec often = once;
  often.spans.resize(10'000, once.spans[0]);
  EXPECT_GT(encoder().Predict(60'000, often, Route::kAuto).seconds,
            5 * encoder().Predict(60'000, once, Route::kAuto).seconds);
}

TEST_F(EncodeJobTest, AJobMayBeDestroyedAtAnyPoint) {
  for (int steps = 0; steps < 8; ++steps) {
    CollectingSink sink;
    const auto job = Begin(encoder(), {20'000, 300}, kMean, sink);
    for (int i = 0; i < steps; ++i) ASSERT_TRUE(job->Step().ok());
  }
}

// Token 0 has an embedding that overflows in the first norm.
ModelFolder ModelWithAnOverflowingToken() {
  ModelFolder folder = RandomModel(SmallConfig(), 2);
  std::vector<float>& embeddings = folder.weights.at("embeddings.token.weight").values;
  std::fill_n(embeddings.begin(), folder.config.hidden_size, std::numeric_limits<float>::max());
  return folder;
}

TEST(EncodeJob, ASequenceThatOverflowsFailsAlone) {
  const auto encoder = MakeEncoder(ModelWithAnOverflowingToken());
  for (const OutputSpec& output : {kMean, kAllRows, OutputSpec{.pooling = Pooling::kMax}}) {
    EncoderBatch batch;
    std::vector<std::vector<int32_t>> sequences;
    for (uint32_t s = 0; s < 5; ++s) {
      sequences.push_back(RandomTokens(30 + 40 * s, 96, s));
      for (int32_t& token : sequences.back()) ++token;  // never 0
    }
    sequences[2][17] = 0;
    for (const auto& tokens : sequences) batch.Add(tokens);
    CollectingSink sink;
    auto job = encoder->Begin(batch, std::vector<OutputSpec>(5, output), &sink);
    ASSERT_TRUE(job.ok()) << job.status();
    ASSERT_EQ(*RunJob(**job), EncodeJob::State::kDone);
    ASSERT_TRUE(sink.result(2).end.has_value());
    EXPECT_EQ(GetErrorDetails(*sink.result(2).end).reason, ErrorReason::kNonFinite);
    for (const int s : {0, 1, 3, 4}) {
      EXPECT_TRUE(sink.result(s).end.has_value() && sink.result(s).end->ok());
      EXPECT_EQ(sink.result(s).values, EncodeOne(*encoder, sequences[s], output)) << s;
    }
  }
}

// One signed feature (sin, cos) whose two terms cancel to rounding where q is e1 and k is e2, as
// for token 0: sin(3pi/4) sin(pi/4) + cos(3pi/4) cos(pi/4) = 0. For token 1 k is e1 as well.
ModelFolder ModelWithADegenerateToken() {
  ModelConfig config = OneLayerConfig();
  config.hidden_size = config.head_dim = 4;
  config.intermediate_size = 4;
  config.vocab_size = 2;
  config.attention.features = FeatureKind::kTrf;
  config.attention.num_features = 1;
  config.attention.bias.kind = BiasKind::kNone;
  ModelFolder folder = RandomModel(config, 1);
  const auto set = [&folder](const std::string& name, std::vector<float> values) {
    std::vector<float>& stored = folder.weights.at(name).values;
    ASSERT_EQ(stored.size(), values.size()) << name;
    stored = std::move(values);
  };
  set("embeddings.token.weight", {1, -1, 0, 0, 0, 0, 1, -1});
  set("layers.0.attention_norm.weight", {1, 1, 1, 1});
  set("layers.0.attention_norm.bias", {0, 0, 0, 0});
  set("layers.0.attention.query.weight", std::vector<float>(16, 0));
  set("layers.0.attention.query.bias", {1, 0, 0, 0});
  set("layers.0.attention.key.weight", {0, 0, 1, -1, 1, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  set("layers.0.attention.key.bias", {0, 0, 0, 0});
  set("layers.0.attention.projection",
      {static_cast<float>(0.75 * M_PI), static_cast<float>(0.25 * M_PI), 0, 0});
  return folder;
}

TEST(EncodeJob, ASequenceWhoseDenominatorCancelsFailsAlone) {
  const auto encoder = MakeEncoder(ModelWithADegenerateToken());
  EncoderBatch batch;
  for (const int32_t token : {1, 0, 1}) batch.Add({token});
  CollectingSink sink;
  auto job = encoder->Begin(batch, std::vector<OutputSpec>(3, kMean), &sink);
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(*RunJob(**job), EncodeJob::State::kDone);
  ASSERT_TRUE(sink.result(1).end.has_value());
  EXPECT_EQ(GetErrorDetails(*sink.result(1).end).reason, ErrorReason::kDegenerateDenominator);
  for (const int s : {0, 2}) {
    ASSERT_TRUE(sink.result(s).end.has_value());
    EXPECT_TRUE(sink.result(s).end->ok()) << *sink.result(s).end;
    EXPECT_EQ(sink.result(s).values, EncodeOne(*encoder, {1}, kMean));
  }
}

TEST_F(EncodeJobTest, MemoryIsWhatPredictSaid) {
  std::vector<OutputSpec> outputs = {kMean, kAllRows};
  outputs.push_back({.pooling = Pooling::kRows, .layers = {0, 1, 3}});
  outputs.push_back({.pooling = Pooling::kMean, .layers = {2, 3}, .truncate_dim = 16});
  for (const OutputSpec& output : outputs) {
    for (const int64_t tokens : {9'000, 20'001}) {
      CollectingSink sink;
      const auto job = Begin(encoder(), {tokens}, output, sink);
      int64_t peak = 0;
      for (EncodeJob::State state = EncodeJob::State::kMore; state != EncodeJob::State::kDone;) {
        state = *job->Step();
        peak = std::max(peak, job->ResidentBytes());
      }
      const double predicted =
          static_cast<double>(encoder().Predict(tokens, output, Route::kAuto).peak_bytes);
      EXPECT_NEAR(static_cast<double>(peak), predicted, 0.2 * predicted) << tokens;
      EXPECT_LT(job->ResidentBytes(), peak / 10) << "what is left when the job is done";
    }
  }
}

// Narrow rows, with all sizes of n-grams that there are or with none.
ModelFolder NarrowModel(bool ngrams) {
  ModelConfig config = OneLayerConfig();
  config.hidden_size = config.head_dim = 8;
  config.intermediate_size = 16;
  config.attention.num_features = 8;
  if (ngrams) {
    config.ngrams = {
        .sizes = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, .buckets = 1000, .dim = 8};
  }
  return RandomModel(config, 1);
}

// The buckets, 60 bytes a token, are a third of the memory while they are needed, and gone when the
// attention is at work.
TEST(EncodeJob, NgramsAreCountedUntilTheyAreEmbedded) {
  const int64_t tokens = 100'000;
  const auto encoder = MakeEncoder(NarrowModel(true));
  CollectingSink sink;
  const auto job = Begin(*encoder, {tokens}, kMean, sink);
  int64_t peak = 0;
  int64_t last = 0;
  while (*job->Step() != EncodeJob::State::kDone) {
    last = job->ResidentBytes();
    peak = std::max(peak, last);
  }
  EXPECT_LT(last, peak - tokens * 40);
  // 2 % are the ids' spare capacity.
  const int64_t predicted = encoder->Predict(tokens, kMean, Route::kAuto).peak_bytes;
  EXPECT_NEAR(static_cast<double>(peak), static_cast<double>(predicted),
              0.05 * static_cast<double>(peak));
  const auto plain = MakeEncoder(NarrowModel(false));
  EXPECT_GT(predicted, plain->Predict(tokens, kMean, Route::kAuto).peak_bytes + tokens * 40);
}

// 32 kFLOP a token: 6.4 slices of 2 GFLOP.
TEST(EncodeJob, NgramsAreHashedAndEmbeddedInSlicesOfTheirOwn) {
  const int64_t tokens = 400'000;
  const auto with = MakeEncoder(NarrowModel(true));
  const auto without = MakeEncoder(NarrowModel(false));
  CollectingSink with_sink;
  CollectingSink without_sink;
  EXPECT_NEAR(CountSteps(*Begin(*with, {tokens}, kMean, with_sink)) -
                  CountSteps(*Begin(*without, {tokens}, kMean, without_sink)),
              6, 1);
  EXPECT_NEAR(with->Predict(tokens, kMean, Route::kAuto).slices -
                  without->Predict(tokens, kMean, Route::kAuto).slices,
              6, 1);
}

TEST(EncodeJob, SequencesDroppedAmongNgramsLeaveTheirMatesTheirBits) {
  ModelConfig config = OneLayerConfig();
  config.ngrams = {.sizes = {2, 16}, .buckets = 1000, .dim = 64};
  const auto encoder = MakeEncoder(RandomModel(config, 1));
  const std::vector<int64_t> lengths = {30, 60'000, 70, 40'000};
  for (const int steps_before : {0, 1, 2}) {
    CollectingSink sink;
    const auto job = Begin(*encoder, lengths, kMean, sink);
    for (int i = 0; i < steps_before; ++i) ASSERT_EQ(*job->Step(), EncodeJob::State::kMore);
    job->Drop(1);
    ASSERT_EQ(*RunJob(*job), EncodeJob::State::kDone);
    for (const int s : {0, 2, 3}) {
      EXPECT_EQ(sink.result(s).values,
                Alone(*encoder, lengths[s], static_cast<uint32_t>(s), kMean));
    }
  }
}

int64_t ResidentBytesOfProcess() {
  long pages = 0;
  long resident = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "r");
  EXPECT_EQ(std::fscanf(file, "%ld %ld", &pages, &resident), 2);
  std::fclose(file);
  return resident * 4096;
}

TEST_F(EncodeJobTest, TheProcessGrowsByWhatTheJobSays) {
  CollectingSink sink;
  CountSteps(*Begin(encoder(), {100}, kMean, sink));
  CollectingSink long_sink;
  const auto job = Begin(encoder(), {450'000}, kMean, long_sink);
  // Memory that earlier tests freed and the allocator kept would be taken again unseen.
  malloc_trim(0);
  const int64_t before = ResidentBytesOfProcess();
  int64_t grown = 0;
  int64_t said = 0;
  for (EncodeJob::State state = EncodeJob::State::kMore; state != EncodeJob::State::kDone;) {
    state = *job->Step();
    grown = std::max(grown, ResidentBytesOfProcess() - before);
    said = std::max(said, job->ResidentBytes());
  }
  // On top of the buffers come the workers' scratch and the libraries' pages that are touched first
  // here, about 30 MiB together whatever the length.
  EXPECT_NEAR(static_cast<double>(grown), static_cast<double>(said),
              0.2 * static_cast<double>(said));
}

TEST_F(EncodeJobTest, OutOfMemoryEndsTheJobAndNothingElse) {
  CollectingSink sink;
  const auto job = Begin(encoder(), {1'000'000}, kMean, sink);
  rlimit old_limit;
  ASSERT_EQ(getrlimit(RLIMIT_AS, &old_limit), 0);
  rlimit tight = old_limit;
  tight.rlim_cur = rlim_t{1} << 20;  // less than the process has: no mapping is granted any more
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  const auto state = job->Step();
  ASSERT_EQ(setrlimit(RLIMIT_AS, &old_limit), 0);
  ASSERT_FALSE(state.ok());
  EXPECT_EQ(state.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetails(state.status()).reason, ErrorReason::kOutOfMemory);
  EXPECT_TRUE(encoder().Health().ok());
  EXPECT_EQ(Alone(encoder(), 100, 1, kMean).size(), 48u);
}

}  // namespace
}  // namespace longwave
