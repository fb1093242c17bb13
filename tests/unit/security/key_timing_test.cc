// Whether the time of a key's comparison tells anything of the keys that are known (row 49 of the
// catalogue of hostile inputs). Welch's t between two kinds of probe, measured alternately within
// one process. A machine that does other things too can make a quiet comparison look loud, never a
// leaky one quiet through all attempts: so the best of several attempts decides, and a comparison
// that leaks on purpose must be found out by the same measure.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <vector>

#include "server/security/digest_table.h"

namespace longwave {
namespace {

constexpr int kCompares = 100'000;
constexpr int kAttempts = 10;
constexpr int kKeys = 64;
// The usual threshold for "no evidence of a leak".
constexpr double kQuiet = 4.5;

struct Moments {
  double mean = 0;
  double variance = 0;
};

// Of what lies below the cut: interrupts are not part of the comparison.
Moments MomentsBelow(const std::vector<double>& times, double cut) {
  double sum = 0;
  double squares = 0;
  double count = 0;
  for (const double time : times) {
    if (time > cut) continue;
    sum += time;
    squares += time * time;
    ++count;
  }
  const double mean = sum / count;
  return {mean, (squares / count - mean * mean) / count};
}

template <typename Find>
double WelchT(Find find, const Sha256Digest& one, const Sha256Digest& other) {
  std::minstd_rand random(7);
  std::vector<double> times[2];
  for (int i = 0; i < kCompares; ++i) {
    const int which = static_cast<int>(random() >> 8 & 1);
    // A copy at the same address: the cache must not tell the probes apart.
    const Sha256Digest probe = which == 0 ? one : other;
    const auto start = std::chrono::steady_clock::now();
    volatile int64_t found = find(probe);
    static_cast<void>(found);
    times[which].push_back(
        std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count());
  }
  std::vector<double> all = times[0];
  all.insert(all.end(), times[1].begin(), times[1].end());
  const auto cut = all.begin() + static_cast<int64_t>(all.size() * 9 / 10);
  std::nth_element(all.begin(), cut, all.end());
  const Moments a = MomentsBelow(times[0], *cut);
  const Moments b = MomentsBelow(times[1], *cut);
  return std::abs(a.mean - b.mean) / std::sqrt(a.variance + b.variance + 1e-12);
}

template <typename Find>
double QuietestT(Find find, const Sha256Digest& one, const Sha256Digest& other) {
  double best = WelchT(find, one, other);
  for (int attempt = 1; attempt < kAttempts && best >= kQuiet; ++attempt) {
    best = std::min(best, WelchT(find, one, other));
  }
  return best;
}

class KeyTimingTest : public testing::Test {
 protected:
  KeyTimingTest() {
    for (int i = 0; i < kKeys; ++i) {
      // All alike but for the last byte, the worst case for a comparison that stops early.
      Sha256Digest digest = Sha256Of("prefix");
      digest[31] = static_cast<unsigned char>(i);
      table_.Add(digest);
      digests_.push_back(digest);
    }
    near_ = digests_[0];
    near_[31] = 0xff;
    far_ = near_;
    far_[0] ^= 0xff;
  }

  DigestTable table_;
  std::vector<Sha256Digest> digests_;
  Sha256Digest near_;
  Sha256Digest far_;
};

TEST_F(KeyTimingTest, HowMuchOfAKeyIsRightDoesNotShow) {
  const auto find = [this](const Sha256Digest& probe) { return table_.Find(probe); };
  EXPECT_LT(QuietestT(find, near_, far_), kQuiet);
}

TEST_F(KeyTimingTest, WhichKeyMatchesAndWhetherOneDoesDoesNotShow) {
  const auto find = [this](const Sha256Digest& probe) { return table_.Find(probe); };
  EXPECT_LT(QuietestT(find, digests_.front(), digests_.back()), kQuiet);
  EXPECT_LT(QuietestT(find, digests_.front(), far_), kQuiet);
}

TEST_F(KeyTimingTest, TheMeasureFindsAComparisonThatStopsEarly) {
  const auto leaky = [this](const Sha256Digest& probe) {
    for (size_t i = 0; i < digests_.size(); ++i) {
      size_t byte = 0;
      while (byte < probe.size() && digests_[i][byte] == probe[byte]) ++byte;
      if (byte == probe.size()) return static_cast<int64_t>(i);
    }
    return int64_t{-1};
  };
  EXPECT_GT(QuietestT(leaky, near_, far_), kQuiet);
}

}  // namespace
}  // namespace longwave
