#include "model/encoder/transformer_encoder.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

#include "model/base/error.h"
#include "tests/unit/encoder/encode.h"

namespace longwave {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

const OutputSpec kMean{.pooling = Pooling::kMean};

TEST(TransformerEncoder, InfoTellsWhatTheModelIs) {
  ModelFolder folder = RandomModel(SmallConfig(), 1);
  folder.serving.name = "small";
  folder.serving.version = "7";
  folder.serving.tokenizer_kind = "byte";
  folder.serving.default_pooling = Pooling::kLast;
  folder.serving.default_normalize = true;
  folder.config.matryoshka_dims = {16, 32};
  const auto encoder = MakeEncoder(folder);
  const EncoderInfo& info = encoder->Info();
  EXPECT_EQ(info.model, "small");
  EXPECT_EQ(info.version, "7");
  EXPECT_EQ(info.dim, 48);
  EXPECT_EQ(info.layers, 3);
  EXPECT_EQ(info.vocab_size, 97);
  EXPECT_EQ(info.max_tokens, 1 << 20);
  EXPECT_EQ(info.input_kinds, std::vector<std::string>{"token_ids"});
  EXPECT_EQ(info.default_pooling, Pooling::kLast);
  EXPECT_TRUE(info.default_normalize);
  EXPECT_EQ(info.truncate_dims, (std::vector<int64_t>{16, 32}));
  EXPECT_EQ(info.tokenizer_kind, "byte");
  EXPECT_EQ(info.weights_digest, folder.weights_digest);
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.compute_dtype, "fp32");
  EXPECT_TRUE(info.deterministic);
  EXPECT_EQ(info.fingerprint.size(), 64u);
  EXPECT_TRUE(encoder->Health().ok());
}

TEST(TransformerEncoder, RoutesAreThoseThatAreExactAutosChoicesFirst) {
  const auto structured = MakeEncoder(RandomModel(SmallConfig(), 1));
  EXPECT_EQ(structured->Info().routes.front(),
            structured->Predict(5000, kMean, Route::kAuto).route);
  EXPECT_THAT(structured->Info().routes, Contains(Route::kChunkwise));
  EXPECT_THAT(structured->Info().routes, Contains(Route::kDirect));
  EXPECT_THAT(structured->Info().routes, Not(Contains(Route::kInterpolation)));

  ModelConfig free_table = SmallConfig();
  free_table.max_tokens = 2000;
  free_table.attention.bias.kind = BiasKind::kTable;
  free_table.attention.bias.table_length = 2000;
  const auto unstructured = MakeEncoder(RandomModel(free_table, 1));
  EXPECT_THAT(unstructured->Info().routes, Not(Contains(Route::kChunkwise)));
  EXPECT_THAT(unstructured->Info().routes, Contains(Route::kTiles));
}

TEST(TransformerEncoder, ARouteThatIsNotExactIsRefused) {
  ModelConfig config = SmallConfig();
  config.max_tokens = 2000;
  config.attention.bias.kind = BiasKind::kTable;
  config.attention.bias.table_length = 2000;
  const auto encoder = MakeEncoder(RandomModel(config, 1));
  EXPECT_TRUE(encoder->CheckRoute(100, Route::kAuto).ok());
  const absl::Status refused = encoder->CheckRoute(100, Route::kChunkwise);
  EXPECT_EQ(GetErrorDetails(refused).reason, ErrorReason::kRouteNotExact);
  CollectingSink sink;
  EncoderBatch batch;
  batch.Add(RandomTokens(100, 97, 1), Route::kChunkwise);
  EXPECT_EQ(encoder->Begin(batch, {kMean}, &sink).status(), refused);
}

TEST(TransformerEncoder, TheReportNamesTheRouteThatWasForced) {
  const auto encoder = MakeEncoder(RandomModel(SmallConfig(), 1));
  for (const Route route : encoder->Info().routes) {
    CollectingSink sink;
    EncoderBatch batch;
    batch.Add(RandomTokens(60, 97, 1), route);
    batch.Add(RandomTokens(60, 97, 1));
    auto job = encoder->Begin(batch, {kMean, kMean}, &sink);
    ASSERT_TRUE(job.ok()) << job.status();
    ASSERT_EQ(*RunJob(**job), EncodeJob::State::kDone);
    EXPECT_EQ(sink.result(0).report.route, route);
    EXPECT_EQ(sink.result(1).report.route, encoder->Predict(60, kMean, Route::kAuto).route);
  }
}

// Time that leaps: every measurement of the warm-up is nonsense, and another one for each seed.
class LeapingClock final : public Clock {
 public:
  explicit LeapingClock(uint32_t seed) : generator_(seed) {}
  Instant Now() const override {
    now_ += FromSeconds(std::exp(std::uniform_real_distribution<double>(-12, 5)(generator_)));
    return now_;
  }

 private:
  mutable std::mt19937 generator_;
  mutable Instant now_;
};

TEST(TransformerEncoder, NeitherRoutesNorBitsDependOnWhatTheWarmUpMeasured) {
  ModelConfig config = SmallConfig();
  config.max_tokens = 40000;
  config.attention.bias = {.kind = BiasKind::kTable, .table_length = 40000};
  const ModelFolder folder = RandomModel(config, 1);
  const auto cold = MakeEncoder(folder);
  for (const uint32_t seed : {1, 2, 3}) {
    const auto skewed = MakeEncoder(folder);
    ASSERT_TRUE(skewed->WarmUp(LeapingClock(seed)).ok());
    EXPECT_NE(skewed->Predict(3000, kMean, Route::kAuto).seconds,
              cold->Predict(3000, kMean, Route::kAuto).seconds);
    for (int64_t n = 1; n <= config.max_tokens; n = n * 3 / 2 + 1) {
      EXPECT_EQ(skewed->Predict(n, kMean, Route::kAuto).route,
                cold->Predict(n, kMean, Route::kAuto).route)
          << n;
    }
    EXPECT_EQ(skewed->Info().fingerprint, cold->Info().fingerprint);
    EXPECT_EQ(EncodeOne(*skewed, RandomTokens(700, 97, 1), kMean),
              EncodeOne(*cold, RandomTokens(700, 97, 1), kMean));
  }
}

// One free head among structured ones: every head takes its own route, and the reply names that of
// the most.
TEST(TransformerEncoder, HeadsTakeTheirOwnRoutes) {
  ModelConfig config = SmallConfig();
  config.max_tokens = 3000;
  config.attention.bias = {.kind = BiasKind::kTable, .table_length = 3000};
  ModelFolder folder = RandomModel(config, 1);
  std::vector<float>& values = folder.weights.at("attention_bias").values;
  const int64_t columns = 2 * 3000 - 1;
  for (int64_t head = 1; head < config.num_heads; ++head) {
    for (int64_t c = 0; c < columns; ++c) {
      if (std::abs(c - 2999) > 90) values[head * columns + c] = 0.125F;
    }
  }
  const auto encoder = MakeEncoder(folder);
  EXPECT_EQ(encoder->Predict(3000, kMean, Route::kAuto).route, Route::kChunkwise);
  const std::vector<int32_t> ids = RandomTokens(2500, 97, 1);
  const std::vector<float> planned = EncodeOne(*encoder, ids, kMean);
  const std::vector<float> tiles = EncodeOne(*encoder, ids, kMean, Route::kTiles);
  ASSERT_EQ(planned.size(), tiles.size());
  for (size_t i = 0; i < tiles.size(); ++i) EXPECT_NEAR(planned[i], tiles[i], 1e-4) << i;
  EXPECT_NE(planned, tiles);
  folder.config.attention.preferred_route = Route::kTiles;
  const auto preferring = MakeEncoder(folder);
  EXPECT_EQ(EncodeOne(*preferring, ids, kMean), tiles);
  EXPECT_NE(preferring->Info().fingerprint, encoder->Info().fingerprint);
}

// A model that asks for it: the route is planned, its certificate published and reported.
TEST(TransformerEncoder, InterpolationIsServedUnderItsCertificate) {
  ModelConfig config = SmallConfig();
  config.max_tokens = 9000;
  config.attention.bias = {.kind = BiasKind::kTable, .table_length = 9000};
  config.attention.interpolation_error = 1e-3;
  ModelFolder folder = RandomModel(config, 1);
  std::vector<float>& values = folder.weights.at("attention_bias").values;
  const int64_t columns = 2 * 9000 - 1;
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] =
        -0.5F * static_cast<float>(std::log1p(std::abs(static_cast<double>(i % columns) - 8999)));
  }
  const auto encoder = MakeEncoder(folder);
  EXPECT_EQ(encoder->Predict(9000, kMean, Route::kAuto).route, Route::kInterpolation);
  ASSERT_EQ(encoder->Info().certificates.size(), 1);
  EXPECT_EQ(encoder->Info().certificates[0].route, Route::kInterpolation);
  const double bound = encoder->Info().certificates[0].error_bound;
  EXPECT_GT(bound, 0);
  EXPECT_LE(bound, 1e-3 / (1 - 1e-3));
  CollectingSink sink;
  EncoderBatch batch;
  batch.Add(RandomTokens(5000, 97, 1));
  batch.Add(RandomTokens(50, 97, 2), Route::kTiles);
  auto job = encoder->Begin(batch, {kMean, kMean}, &sink);
  ASSERT_TRUE(job.ok()) << job.status();
  ASSERT_EQ(*RunJob(**job, 100000), EncodeJob::State::kDone);
  EXPECT_EQ(sink.result(0).report.route, Route::kInterpolation);
  EXPECT_GT(sink.result(0).report.error_bound, 0);
  EXPECT_LE(sink.result(0).report.error_bound, bound);
  EXPECT_EQ(sink.result(1).report.error_bound, 0);
  config.attention.interpolation_error = 0;
  folder.config = config;
  EXPECT_TRUE(MakeEncoder(folder)->Info().certificates.empty());
}

TEST(TransformerEncoder, BrokenRulesAreInternalErrors) {
  const auto encoder = MakeEncoder(RandomModel(SmallConfig(), 1));
  CollectingSink sink;
  EncoderBatch batch;
  batch.Add({1, 2, 97});
  EXPECT_EQ(encoder->Begin(batch, {kMean}, &sink).status().code(), absl::StatusCode::kInternal);
  EncoderBatch empty;
  EXPECT_EQ(encoder->Begin(empty, {}, &sink).status().code(), absl::StatusCode::kInternal);
}

TEST(TransformerEncoder, FingerprintChangesWithWhatDecidesBits) {
  ModelFolder folder = RandomModel(SmallConfig(), 1);
  const std::string fingerprint = MakeEncoder(folder)->Info().fingerprint;
  EXPECT_EQ(MakeEncoder(folder, 1)->Info().fingerprint, fingerprint) << "threads do not";
  ModelFolder other_weights = folder;
  other_weights.weights_digest = "4567";
  EXPECT_NE(MakeEncoder(other_weights)->Info().fingerprint, fingerprint);
  ModelFolder other_config = folder;
  other_config.config.layer_norm_eps = 1e-6;
  EXPECT_NE(MakeEncoder(other_config)->Info().fingerprint, fingerprint);
  ModelConfig with_ngrams = SmallConfig();
  with_ngrams.ngrams = {.sizes = {2, 3}, .buckets = 100, .dim = 8};
  ModelFolder ngrams = RandomModel(with_ngrams, 1);
  const std::string ngram_fingerprint = MakeEncoder(ngrams)->Info().fingerprint;
  EXPECT_NE(ngram_fingerprint, fingerprint);
  ngrams.config.ngrams.sizes = {2, 4};  // the same tensors, read otherwise
  EXPECT_NE(MakeEncoder(ngrams)->Info().fingerprint, ngram_fingerprint);
  ModelConfig with_words = SmallConfig();
  with_words.vocab_size = 256;
  const std::string bytes_fingerprint = MakeEncoder(RandomModel(with_words, 1))->Info().fingerprint;
  with_words.words = {.count = 10, .dim = 8};
  EXPECT_NE(MakeEncoder(RandomModel(with_words, 1))->Info().fingerprint, bytes_fingerprint);
  ModelFolder causal = folder;
  causal.config.attention.causal = true;
  EXPECT_NE(MakeEncoder(causal)->Info().fingerprint, fingerprint);
}

TEST(TransformerEncoder, EveryWorkerHasOneLibTorchThreadAndInferenceMode) {
  const auto encoder = MakeEncoder(RandomModel(SmallConfig(), 1), 3);
  std::atomic<int> bad = 0;
  encoder->compute_pool()->ParallelFor(100, [&](int64_t, int) {
    if (at::get_num_threads() != 1 || !c10::InferenceMode::is_enabled()) ++bad;
    std::this_thread::yield();
  });
  EXPECT_EQ(bad, 0);
}

TEST(TransformerEncoder, AnyThreadMayStepAJobAndSeveralJobsMayBeUnderWay) {
  const auto encoder = MakeEncoder(RandomModel(SmallConfig(), 1));
  const auto tokens = RandomTokens(3000, 97, 1);
  const std::vector<float> expected = EncodeOne(*encoder, tokens, kMean);
  std::vector<std::vector<float>> rows(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] { rows[t] = EncodeOne(*encoder, tokens, kMean); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& row : rows) EXPECT_EQ(row, expected);
}

TEST(TransformerEncoder, WarmUpMeasuresRatesAndSlices) {
  const auto encoder = MakeEncoder(RandomModel(SmallConfig(), 1));
  EXPECT_EQ(encoder->Info().max_slice_seconds, 0);
  ASSERT_TRUE(encoder->WarmUp().ok());
  EXPECT_GT(encoder->Info().max_slice_seconds, 0);
  for (const Route route : encoder->Info().routes) {
    const CostPrediction shorter = encoder->Predict(500, kMean, route);
    const CostPrediction longer = encoder->Predict(5000, kMean, route);
    EXPECT_EQ(shorter.route, route);
    EXPECT_GT(shorter.seconds, 0);
    EXPECT_GT(longer.seconds, shorter.seconds);
    EXPECT_GT(longer.peak_bytes, shorter.peak_bytes);
    EXPECT_GE(longer.slices, shorter.slices);
  }
}

TEST(TransformerEncoder, WarmUpDoesNotMoveABit) {
  const ModelFolder folder = RandomModel(SmallConfig(), 1);
  const auto warm = MakeEncoder(folder);
  ASSERT_TRUE(warm->WarmUp().ok());
  const auto cold = MakeEncoder(folder);
  const auto tokens = RandomTokens(3000, 97, 1);
  EXPECT_EQ(warm->Info().fingerprint, cold->Info().fingerprint);
  EXPECT_EQ(EncodeOne(*warm, tokens, kMean), EncodeOne(*cold, tokens, kMean));
}

TEST(TransformerEncoderOptions, ValidateTellsEveryProblemAndTheFlag) {
  EXPECT_TRUE(TransformerEncoderOptions{}.Validate().ok());
  const absl::Status status =
      TransformerEncoderOptions{.threads = -1, .cpu_target = "sse"}.Validate();
  EXPECT_THAT(std::string(status.message()), HasSubstr("--threads=-1"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("--cpu_target=sse"));
}

TEST(PrepareProcessForCompute, RefusesATargetThatItDoesNotKnow) {
  EXPECT_EQ(PrepareProcessForCompute("mips").code(), absl::StatusCode::kInvalidArgument);
}

// In a process of its own: LibTorch reads the target once.
void EncodeForTarget(const std::string& target) {
  if (!PrepareProcessForCompute(target).ok()) std::exit(2);
  const auto encoder = TransformerEncoder::Create(RandomModel(SmallConfig(), 1),
                                                  {.device = "cpu", .cpu_target = target});
  if (!encoder.ok()) {
    std::fprintf(stderr, "%s\n", encoder.status().ToString().c_str());
    std::exit(3);
  }
  std::fprintf(stderr, "fingerprint %s\n", (*encoder)->Info().fingerprint.c_str());
  std::exit(EncodeOne(**encoder, RandomTokens(100, 97, 1), kMean).size() == 48 ? 0 : 4);
}

TEST(PrepareProcessForComputeDeathTest, PinsTheInstructionSet) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(EncodeForTarget("avx2"), testing::ExitedWithCode(0), "fingerprint [0-9a-f]{64}");
}

TEST(PrepareProcessForComputeDeathTest, AutoTakesBackWhatTheEnvironmentSaid) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto run = [] {
    setenv("ONEDNN_MAX_CPU_ISA", "SSE41", 1);
    setenv("OMP_NUM_THREADS", "7", 1);
    if (!PrepareProcessForCompute("auto").ok()) std::exit(2);
    std::exit(std::getenv("ONEDNN_MAX_CPU_ISA") == nullptr &&
                      std::string(std::getenv("OMP_NUM_THREADS")) == "1"
                  ? 0
                  : 1);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0), "");
}

TEST(PrepareProcessForComputeDeathTest, ATargetThatIsNotInUseIsAnError) {
  const ModelFolder folder = RandomModel(SmallConfig(), 1);
  int refused = 0;
  for (const char* target : {"avx2", "avx512"}) {
    const auto encoder =
        TransformerEncoder::Create(folder, {.device = "cpu", .cpu_target = target});
    if (!encoder.ok()) {
      ++refused;
      EXPECT_THAT(std::string(encoder.status().message()), HasSubstr("this process computes with"));
    }
  }
  EXPECT_GE(refused, 1);
}

TEST(SelectDevice, WithoutAUsableCardAutoIsTheCpuAndSaysWhy) {
  const ModelFolder folder = RandomModel(SmallConfig(), 1);
  const auto cuda = TransformerEncoder::Create(folder, {.device = "cuda"});
  if (cuda.ok()) GTEST_SKIP() << "this machine has a CUDA device";
  EXPECT_EQ(cuda.status().code(), absl::StatusCode::kInvalidArgument);
  const auto encoder = TransformerEncoder::Create(folder, {.device = "auto"});
  ASSERT_TRUE(encoder.ok()) << encoder.status();
  EXPECT_EQ((*encoder)->Info().device, "cpu");
  EXPECT_NE((*encoder)->fallback_reason(), "");
  const auto asked = TransformerEncoder::Create(folder, {.device = "cpu"});
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ((*asked)->fallback_reason(), "");
}

TEST(SelectDevice, RefusesANameThatItDoesNotKnow) {
  const ModelFolder folder = RandomModel(SmallConfig(), 1);
  for (const char* device : {"", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"}) {
    const auto encoder = TransformerEncoder::Create(folder, {.device = device});
    EXPECT_EQ(encoder.status().code(), absl::StatusCode::kInvalidArgument) << device;
  }
}

}  // namespace
}  // namespace longwave
