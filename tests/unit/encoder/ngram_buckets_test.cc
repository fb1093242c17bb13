#include "model/encoder/ngram_buckets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "tests/unit/encoder/random_model.h"

namespace longwave {
namespace {

using testing::Each;
using testing::ElementsAre;

// The buckets of a whole flat batch, rows up to `padded`.
std::vector<int32_t> Whole(const NgramConfig& config, const std::vector<int32_t>& ids,
                           const std::vector<int64_t>& offsets, int64_t padded) {
  std::vector<int32_t> buckets(padded * config.sizes.size(), -7);
  FillNgramBuckets(config, ids, offsets, {0, padded}, absl::MakeSpan(buckets));
  return buckets;
}

std::vector<int32_t> OneSequence(const NgramConfig& config, const std::vector<int32_t>& ids) {
  const int64_t n = static_cast<int64_t>(ids.size());
  return Whole(config, ids, {0, n}, n);
}

// Of a table of `buckets` rows the one of the n-gram that all the ids are.
int32_t BucketOf(const std::vector<int32_t>& ids, int64_t buckets) {
  const int64_t size = static_cast<int64_t>(ids.size());
  return OneSequence({.sizes = {size}, .buckets = buckets, .dim = 1}, ids).back();
}

// Worked out with unbounded integers from the definition; tests/golden/twin_test.py has the same
// numbers. 2^24 buckets show the low 24 bits of the hash: {0, 0} hashes to 0x412fa5aed1f31b0a.
TEST(FillNgramBuckets, RowsOfSomeNgrams) {
  struct Row {
    std::vector<int32_t> ids;
    std::vector<int32_t> buckets;  // of 509, 32768 and 2^24
  };
  const Row table[] = {
      {{0, 0}, {221, 6922, 15932170}},
      {{0, 1}, {280, 9681, 4203985}},
      {{1, 0}, {276, 25267, 5006003}},
      {{97, 98, 99}, {312, 18268, 7096156}},
      {{116, 104, 101, 32}, {348, 21740, 6247660}},
      {{255, 254, 253, 252, 251, 250}, {507, 3887, 14683951}},
      {std::vector<int32_t>(16, 0), {46, 10170, 3450810}},
      {{16777215, 0, 259}, {406, 19192, 4573944}},
  };
  for (const Row& row : table) {
    EXPECT_THAT((std::vector<int32_t>{BucketOf(row.ids, 509), BucketOf(row.ids, 32768),
                                      BucketOf(row.ids, 1 << 24)}),
                testing::ElementsAreArray(row.buckets))
        << testing::PrintToString(row.ids);
    EXPECT_EQ(BucketOf(row.ids, 1), 0);
  }
}

TEST(FillNgramBuckets, NoneBeforeTheSequenceHasEnoughTokens) {
  const NgramConfig config{.sizes = {2, 3}, .buckets = 1 << 24, .dim = 1};
  const int32_t ab = BucketOf({97, 98}, config.buckets);
  const int32_t bc = BucketOf({98, 99}, config.buckets);
  const int32_t abc = BucketOf({97, 98, 99}, config.buckets);
  EXPECT_THAT(OneSequence(config, {97}), ElementsAre(-1, -1));
  EXPECT_THAT(OneSequence(config, {97, 98}), ElementsAre(-1, -1, ab, -1));
  EXPECT_THAT(OneSequence(config, {97, 98, 99}), ElementsAre(-1, -1, ab, -1, bc, abc));
}

TEST(FillNgramBuckets, NoneReachesIntoTheSequenceBeforeNorIntoPadding) {
  const NgramConfig config{.sizes = {2, 3}, .buckets = 1 << 24, .dim = 1};
  const int32_t ab = BucketOf({97, 98}, config.buckets);
  const std::vector<int32_t> ids = {97, 98, 97, 97, 98, 0, 0};
  EXPECT_THAT(Whole(config, ids, {0, 2, 3, 5}, 7),
              ElementsAre(-1, -1, ab, -1, -1, -1, -1, -1, ab, -1, -1, -1, -1, -1));
}

// What a job does: tiles of the flat batch, whose edges lie anywhere in the sequences.
TEST(FillNgramBuckets, AnyCutOfTheBatchGivesTheSame) {
  const NgramConfig config{.sizes = {2, 5, 16}, .buckets = 1000, .dim = 1};
  std::vector<int64_t> offsets = {0};
  for (const int64_t length : {1, 15, 16, 47, 3, 600, 64, 2, 1}) {
    offsets.push_back(offsets.back() + length);
  }
  const int64_t padded = 768;
  std::vector<int32_t> ids = RandomTokens(offsets.back(), 97, 1);
  ids.resize(padded, 0);
  const std::vector<int32_t> whole = Whole(config, ids, offsets, padded);
  std::vector<int32_t> alone;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::vector<int32_t> rows =
        OneSequence(config, {ids.begin() + offsets[s], ids.begin() + offsets[s + 1]});
    alone.insert(alone.end(), rows.begin(), rows.end());
  }
  alone.resize(whole.size(), -1);
  EXPECT_EQ(whole, alone);
  for (const int64_t height : {1, 7, 64, 256}) {
    std::vector<int32_t> cut;
    for (int64_t begin = 0; begin < padded; begin += height) {
      std::vector<int32_t> part((std::min(begin + height, padded) - begin) * 3, -7);
      FillNgramBuckets(config, ids, offsets, {begin, std::min(begin + height, padded)},
                       absl::MakeSpan(part));
      cut.insert(cut.end(), part.begin(), part.end());
    }
    EXPECT_EQ(cut, whole) << height;
  }
}

TEST(FillNgramBuckets, BucketsAreUsedAlike) {
  const NgramConfig config{.sizes = {3}, .buckets = 64, .dim = 1};
  std::vector<int> counts(64, 0);
  const std::vector<int32_t> buckets = OneSequence(config, RandomTokens(64'002, 256, 2));
  for (const int32_t bucket : buckets) {
    if (bucket >= 0) ++counts[bucket];
  }
  // 1000 each, standard deviation 32: six of them either way.
  EXPECT_THAT(counts, Each(testing::AllOf(testing::Gt(800), testing::Lt(1200))));
  EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), 64'000);
}

}  // namespace
}  // namespace longwave
