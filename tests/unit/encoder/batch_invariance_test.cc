// Same sequence, same bits: alone, among any mates, anywhere in the batch, with any number of
// threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "tests/unit/encoder/encode.h"

namespace longwave {
namespace {

constexpr int64_t kLongest = 4097;

const OutputSpec kMean{.pooling = Pooling::kMean};
const OutputSpec kAllRows{.pooling = Pooling::kRows};

// One text; every sequence is a beginning of it, so that equal lengths are equal sequences.
const std::vector<int32_t>& Text() {
  static const auto* const kText = new std::vector<int32_t>(RandomTokens(kLongest, 97, 5));
  return *kText;
}

std::vector<int32_t> Beginning(int64_t length) {
  return std::vector<int32_t>(Text().begin(), Text().begin() + length);
}

// Batches of `lengths` in this order, of about `tokens_per_batch` each; returns the rows by length.
std::vector<std::vector<float>> EncodeInBatches(Encoder& encoder,
                                                const std::vector<int64_t>& lengths,
                                                int64_t tokens_per_batch,
                                                const OutputSpec& output) {
  std::vector<std::vector<float>> by_length(kLongest + 1);
  for (size_t next = 0; next < lengths.size();) {
    EncoderBatch batch;
    const size_t first = next;
    while (next < lengths.size() &&
           (next == first || batch.tokens() + lengths[next] <= tokens_per_batch)) {
      batch.Add(Beginning(lengths[next++]));
    }
    std::vector<OutputSpec> outputs(batch.sequences(), output);
    std::vector<std::vector<float>> rows = Encode(encoder, std::move(batch), std::move(outputs));
    for (size_t i = first; i < next; ++i) by_length[lengths[i]] = std::move(rows[i - first]);
  }
  return by_length;
}

std::vector<int64_t> Shuffled(std::vector<int64_t> lengths, uint32_t seed) {
  std::mt19937 random(seed);
  std::shuffle(lengths.begin(), lengths.end(), random);
  return lengths;
}

std::vector<int64_t> EveryLength() {
  std::vector<int64_t> lengths(kLongest);
  std::iota(lengths.begin(), lengths.end(), 1);
  return lengths;
}

// Around the heights of row tiles, attention blocks and fold blocks, and some between.
std::vector<int64_t> EdgeLengths() {
  return {1,   2,   3,   7,   31,  32,   33,   63,   64,   65,   100,  127,  128, 129,
          191, 255, 256, 257, 500, 1000, 1023, 1024, 1025, 2047, 2049, 4096, 4097};
}

void ExpectSameBits(const std::vector<std::vector<float>>& expected,
                    const std::vector<std::vector<float>>& actual,
                    const std::vector<int64_t>& lengths) {
  for (const int64_t length : lengths) {
    ASSERT_FALSE(expected[length].empty());
    ASSERT_EQ(expected[length], actual[length]) << "a sequence of " << length << " tokens";
  }
}

TEST(BatchInvariance, EveryLengthFrom1To4097) {
  const auto encoder = MakeEncoder(RandomModel(OneLayerConfig(), 1));
  std::vector<std::vector<float>> alone(kLongest + 1);
  for (const int64_t length : EveryLength()) {
    alone[length] = EncodeOne(*encoder, Beginning(length), kMean);
  }
  // Each length among many mates, at a position that only the order of lengths decides.
  ExpectSameBits(alone, EncodeInBatches(*encoder, Shuffled(EveryLength(), 1), 65536, kMean),
                 EveryLength());
}

TEST(BatchInvariance, TokenRowsAtManyPositions) {
  const auto encoder = MakeEncoder(RandomModel(OneLayerConfig(), 2));
  std::vector<std::vector<float>> alone(kLongest + 1);
  for (const int64_t length : EdgeLengths()) {
    alone[length] = EncodeOne(*encoder, Beginning(length), kAllRows);
  }
  for (uint32_t seed = 0; seed < 8; ++seed) {
    ExpectSameBits(alone, EncodeInBatches(*encoder, Shuffled(EdgeLengths(), seed), 65536, kAllRows),
                   EdgeLengths());
  }
}

// Kinds of layers, each of which has operations of its own.
std::vector<ModelConfig> Kinds() {
  std::vector<ModelConfig> kinds;
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kRelu, Activation::kSwiglu}) {
    for (const NormPosition norm : {NormPosition::kPre, NormPosition::kPost}) {
      ModelConfig config = SmallConfig();
      config.activation = activation;
      config.norm_position = norm;
      config.use_bias = norm == NormPosition::kPre;
      config.embedding_norm = norm == NormPosition::kPost;
      config.positions =
          activation == Activation::kRelu ? PositionKind::kSinusoidal : PositionKind::kLearned;
      config.position_table_length = kLongest;
      kinds.push_back(config);
    }
  }
  // Sizes from the shortest to the longest; a table's width that is no multiple of a vector's.
  ModelConfig ngrams = SmallConfig();
  ngrams.ngrams = {.sizes = {2, 3, 4, 7, 16}, .buckets = 5000, .dim = 30};
  ngrams.final_norm = false;
  kinds.push_back(ngrams);
  ModelConfig words = SmallConfig();
  words.vocab_size = 260;
  words.words = {.count = 164, .dim = 30};
  kinds.push_back(words);
  return kinds;
}

TEST(BatchInvariance, EveryKindOfLayer) {
  for (const ModelConfig& config : Kinds()) {
    const auto encoder = MakeEncoder(RandomModel(config, 3));
    std::vector<std::vector<float>> alone(kLongest + 1);
    for (const int64_t length : EdgeLengths()) {
      alone[length] = EncodeOne(*encoder, Beginning(length), kAllRows);
    }
    ExpectSameBits(alone, EncodeInBatches(*encoder, Shuffled(EdgeLengths(), 7), 65536, kAllRows),
                   EdgeLengths());
  }
}

TEST(BatchInvariance, AnyNumberOfThreads) {
  const ModelFolder folder = RandomModel(SmallConfig(), 4);
  const auto one = MakeEncoder(folder, 1);
  const auto expected = EncodeInBatches(*one, EdgeLengths(), 65536, kAllRows);
  for (const int threads : {2, 3}) {
    const auto many = MakeEncoder(folder, threads);
    EXPECT_EQ(many->compute_pool()->threads(), threads);
    ExpectSameBits(expected, EncodeInBatches(*many, EdgeLengths(), 65536, kAllRows), EdgeLengths());
  }
}

// The n-grams of a sequence that begins within a tile must not know what stands before it.
TEST(BatchInvariance, NgramsBeginAnywhereInATile) {
  ModelConfig config = OneLayerConfig();
  config.ngrams = {.sizes = {2, 3, 16}, .buckets = 1000, .dim = 20};
  const auto encoder = MakeEncoder(RandomModel(config, 6));
  OutputSpec embeddings = kAllRows;
  embeddings.layers = {0};
  const std::vector<float> alone = EncodeOne(*encoder, Beginning(80), embeddings);
  for (int64_t before = 1; before <= 130; before += 3) {
    EncoderBatch batch;
    batch.Add(Beginning(before));
    batch.Add(Beginning(80));
    ASSERT_EQ(Encode(*encoder, std::move(batch), {embeddings, embeddings})[1], alone) << before;
  }
}

TEST(BatchInvariance, TwoEncodersOfOneModelAgree) {
  const ModelFolder folder = RandomModel(SmallConfig(), 5);
  const auto a = MakeEncoder(folder);
  const auto b = MakeEncoder(folder);
  EXPECT_EQ(a->Info().fingerprint, b->Info().fingerprint);
  EXPECT_EQ(EncodeOne(*a, Beginning(3000), kAllRows), EncodeOne(*b, Beginning(3000), kAllRows));
}

}  // namespace
}  // namespace longwave
