#include "model/encoder/ngram_buckets.h"

#include <algorithm>
#include <array>

namespace longwave {
namespace {

constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;
constexpr int32_t kNone = -1;
// Rows hashed side by side: one n-gram's multiplications wait for each other, those of neighbours
// do not.
constexpr int64_t kSideBySide = 256;

// The buckets of the n-grams of `size` ids that end at `ends[0]`, `ends[1]`, ..., `stride` apart.
// Precondition: size - 1 ids lie before ends[0].
void HashRows(const int32_t* ends, int64_t rows, int64_t size, uint32_t table, int32_t* buckets,
              int64_t stride) {
  std::array<uint64_t, kSideBySide> hashes;
  for (int64_t first = 0; first < rows; first += kSideBySide) {
    const int64_t count = std::min(kSideBySide, rows - first);
    std::fill_n(hashes.begin(), count, static_cast<uint64_t>(size));
    for (int64_t k = 0; k < size; ++k) {
      const int32_t* const ids = ends + first - (size - 1) + k;
      for (int64_t r = 0; r < count; ++r) {
        const uint64_t hash = (hashes[r] + static_cast<uint64_t>(ids[r]) + 1) * kMultiplier;
        hashes[r] = hash ^ (hash >> 32);
      }
    }
    for (int64_t r = 0; r < count; ++r) {
      buckets[(first + r) * stride] =
          static_cast<int32_t>(static_cast<uint32_t>(hashes[r]) % table);
    }
  }
}

}  // namespace

void FillNgramBuckets(const NgramConfig& config, absl::Span<const int32_t> ids,
                      absl::Span<const int64_t> offsets, TokenRange rows,
                      absl::Span<int32_t> buckets) {
  const int64_t sizes = static_cast<int64_t>(config.sizes.size());
  const uint32_t table = static_cast<uint32_t>(config.buckets);
  std::fill(buckets.begin(), buckets.end(), kNone);
  // The sequence of the first row, or the end.
  auto begin = std::upper_bound(offsets.begin(), offsets.end(), rows.begin) - 1;
  for (; begin + 1 < offsets.end() && *begin < rows.end; ++begin) {
    const int64_t end = std::min(begin[1], rows.end);
    for (int64_t k = 0; k < sizes; ++k) {
      const int64_t first = std::max(*begin + config.sizes[k] - 1, rows.begin);
      if (first >= end) continue;
      HashRows(ids.data() + first, end - first, config.sizes[k], table,
               &buckets[(first - rows.begin) * sizes + k], sizes);
    }
  }
}

}  // namespace longwave
