#include "model/encoder/word_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/unit/encoder/random_model.h"

namespace longwave {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Of "a", "7", "mail" and "caf\xc3\xa9": worked out with unbounded integers from the definition;
// tests/torch/words_test.py has the same numbers.
constexpr uint32_t kA = 733944072;
constexpr uint32_t kSeven = 1147765771;
constexpr uint32_t kMail = 2094681948;
constexpr uint32_t kCafe = 2038289661;

std::vector<uint32_t> Keys(std::vector<uint32_t> keys) {
  std::sort(keys.begin(), keys.end());
  return keys;
}

std::vector<int32_t> Ids(absl::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

std::vector<int32_t> Whole(const std::vector<uint32_t>& keys, const std::vector<int32_t>& ids,
                           const std::vector<int64_t>& offsets, int64_t padded) {
  std::vector<int32_t> rows(padded, -7);
  FillWordRows(keys, ids, offsets, {0, padded}, absl::MakeSpan(rows));
  return rows;
}

std::vector<int32_t> OneSequence(const std::vector<uint32_t>& keys, absl::string_view text) {
  const int64_t n = static_cast<int64_t>(text.size());
  return Whole(keys, Ids(text), {0, n}, n);
}

TEST(FillWordRows, RowsOfSomeWords) {
  // In ascending order: a, 7, cafe, mail.
  const std::vector<uint32_t> keys = Keys({kMail, kA, kCafe, kSeven});
  EXPECT_THAT(OneSequence(keys, "a"), ElementsAre(0));
  EXPECT_THAT(OneSequence(keys, "A"), ElementsAre(0));
  EXPECT_THAT(OneSequence(keys, "7"), ElementsAre(1));
  EXPECT_THAT(OneSequence(keys, "a7,"), ElementsAre(0, 1, -1));
  EXPECT_THAT(OneSequence(keys, "aa 77"), ElementsAre(-1, -1, -1, -1, -1));
  EXPECT_THAT(OneSequence(keys, " MaiL."), ElementsAre(-1, -1, -1, -1, 3, -1));
  EXPECT_THAT(OneSequence(keys, "caf\xc3\xa9"), ElementsAre(-1, -1, -1, -1, 2));
  EXPECT_THAT(OneSequence(keys, "mails"), ElementsAre(-1, -1, -1, -1, -1));
  EXPECT_THAT(OneSequence({}, "a"), ElementsAre(-1));
}

TEST(FillWordRows, IdsThatAreNoBytesStandBetweenWords) {
  EXPECT_THAT(Whole({kA}, {97, 256, 97, 97, 16777215, 97}, {0, 6}, 6),
              ElementsAre(0, -1, -1, -1, -1, 0));
}

TEST(FillWordRows, NoneReachesIntoAnotherSequenceNorIntoPadding) {
  const std::vector<uint32_t> keys = Keys({kMail, kA});
  EXPECT_THAT(Whole(keys,
                    Ids("maila"
                        "amail"
                        "aaaa"),
                    {0, 4, 5, 6, 10, 10}, 14),
              ElementsAre(-1, -1, -1, 1, 0, 0, -1, -1, -1, 1, -1, -1, -1, -1));
}

// 64 bytes are a word, 65 are none; their keys by the function itself, from shorter runs.
TEST(FillWordRows, LongRunsAreNoWords) {
  const auto found = [](int64_t size, const std::vector<uint32_t>& keys) {
    return OneSequence(keys, std::string(size, 'x') + " ")[size - 1];
  };
  uint64_t hash = 0;
  for (int64_t size = 1; size <= 66; ++size) {
    hash = (hash + 'x' + 1) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
    EXPECT_EQ(found(size, {static_cast<uint32_t>(hash)}), size <= 64 ? 0 : -1) << size;
  }
}

// What a job does: tiles of the flat batch, whose edges lie anywhere in words and sequences.
TEST(FillWordRows, AnyCutOfTheBatchGivesTheSame) {
  std::vector<int64_t> offsets = {0};
  for (const int64_t length : {1, 15, 16, 47, 3, 600, 64, 2, 1}) {
    offsets.push_back(offsets.back() + length);
  }
  const int64_t padded = 768;
  std::vector<int32_t> ids = RandomTokens(offsets.back(), 4, 1);  // words of "a", "m", and between
  for (int32_t& id : ids) id = id == 0 ? ' ' : id == 1 ? 'm' : 'a';
  ids.resize(padded, 'a');
  const std::vector<uint32_t> keys = {kA};
  const std::vector<int32_t> whole = Whole(keys, ids, offsets, padded);
  std::vector<int32_t> alone;
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    const std::vector<int32_t> part(ids.begin() + offsets[s], ids.begin() + offsets[s + 1]);
    const int64_t n = static_cast<int64_t>(part.size());
    const std::vector<int32_t> rows = Whole(keys, part, {0, n}, n);
    alone.insert(alone.end(), rows.begin(), rows.end());
  }
  alone.resize(padded, -1);
  EXPECT_EQ(whole, alone);
  EXPECT_GT(std::count(whole.begin(), whole.end(), 0), 20);
  for (const int64_t height : {1, 7, 64, 256}) {
    std::vector<int32_t> cut;
    for (int64_t begin = 0; begin < padded; begin += height) {
      std::vector<int32_t> part(std::min(height, padded - begin), -7);
      FillWordRows(keys, ids, offsets, {begin, std::min(begin + height, padded)},
                   absl::MakeSpan(part));
      cut.insert(cut.end(), part.begin(), part.end());
    }
    EXPECT_EQ(cut, whole) << height;
  }
}

TEST(UnpackWordKeys, LeastByteFirst) {
  const auto keys = UnpackWordKeys({4, 3, 2, 1, 255, 255, 255, 255});
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_THAT(*keys, ElementsAre(0x01020304u, 0xffffffffu));
}

TEST(UnpackWordKeys, NumbersThatAreNoKeys) {
  for (const float value : {-1.0f, 256.0f, 0.5f, std::numeric_limits<float>::quiet_NaN()}) {
    const auto keys = UnpackWordKeys({0, 0, 0, 0, 9, 0, value, 0});
    EXPECT_THAT(keys.status().message(), HasSubstr("'embeddings.word_keys': row 1 holds")) << value;
    EXPECT_THAT(keys.status().message(), HasSubstr("accepted: integers in [0, 255]"));
  }
  const auto twice = UnpackWordKeys({9, 0, 0, 0, 9, 0, 0, 0});
  EXPECT_THAT(twice.status().message(),
              HasSubstr("the key of row 1, 9, is not above that of the row before, 9"));
}

}  // namespace
}  // namespace longwave
