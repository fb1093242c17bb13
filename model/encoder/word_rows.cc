#include "model/encoder/word_rows.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "model/weights/model_config.h"

namespace longwave {
namespace {

constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;
constexpr int32_t kNone = -1;
constexpr int32_t kBytes = 256;

enum Kind : uint8_t { kOther, kLetter, kDigit };

constexpr std::array<Kind, kBytes> Kinds() {
  std::array<Kind, kBytes> kinds = {};
  for (int byte = 0; byte < kBytes; ++byte) {
    const bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte >= 128;
    const bool digit = byte >= '0' && byte <= '9';
    kinds[byte] = letter ? kLetter : digit ? kDigit : kOther;
  }
  return kinds;
}

Kind KindOf(int32_t id) {
  static constexpr std::array<Kind, kBytes> kKinds = Kinds();
  return id >= 0 && id < kBytes ? kKinds[id] : kOther;
}

uint32_t KeyOf(const int32_t* word, int64_t size) {
  uint64_t hash = 0;
  for (int64_t i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[i]);
    hash = (hash + static_cast<unsigned char>(absl::ascii_tolower(byte)) + 1) * kMultiplier;
    hash ^= hash >> 32;
  }
  return static_cast<uint32_t>(hash);
}

int32_t PlaceOf(uint32_t key, absl::Span<const uint32_t> keys) {
  const auto place = std::lower_bound(keys.begin(), keys.end(), key);
  return place != keys.end() && *place == key ? static_cast<int32_t>(place - keys.begin()) : kNone;
}

// The row of the word that ends at `end` - 1 in the sequence that begins at `begin`.
// Precondition: one does, of this kind.
int32_t RowOfWord(absl::Span<const uint32_t> keys, absl::Span<const int32_t> ids, int64_t begin,
                  int64_t end, Kind kind) {
  const int64_t limit = std::max(begin, end - WordConfig::kMaxBytes - 1);
  int64_t first = end;
  while (first > limit && KindOf(ids[first - 1]) == kind) --first;
  if (end - first > WordConfig::kMaxBytes) return kNone;
  return PlaceOf(KeyOf(&ids[first], end - first), keys);
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> UnpackWordKeys(absl::Span<const float> stored) {
  std::vector<uint32_t> keys(stored.size() / WordConfig::kKeyBytes);
  for (size_t i = 0; i < keys.size(); ++i) {
    for (int64_t k = WordConfig::kKeyBytes - 1; k >= 0; --k) {
      const float byte = stored[i * WordConfig::kKeyBytes + k];
      if (!(byte >= 0 && byte < kBytes && byte == std::floor(byte))) {
        return absl::InvalidArgumentError(absl::StrCat("'embeddings.word_keys': row ", i, " holds ",
                                                       byte, ": accepted: integers in [0, 255]"));
      }
      keys[i] = keys[i] << 8 | static_cast<uint32_t>(byte);
    }
    if (i > 0 && keys[i] <= keys[i - 1]) {
      return absl::InvalidArgumentError(
          absl::StrCat("'embeddings.word_keys': the key of row ", i, ", ", keys[i],
                       ", is not above that of the row before, ", keys[i - 1]));
    }
  }
  return keys;
}

void FillWordRows(absl::Span<const uint32_t> keys, absl::Span<const int32_t> ids,
                  absl::Span<const int64_t> offsets, TokenRange rows, absl::Span<int32_t> found) {
  std::fill(found.begin(), found.end(), kNone);
  // The sequence of the first row, or the end.
  auto begin = std::upper_bound(offsets.begin(), offsets.end(), rows.begin) - 1;
  for (; begin + 1 < offsets.end() && *begin < rows.end; ++begin) {
    const int64_t end = std::min(begin[1], rows.end);
    for (int64_t i = std::max(*begin, rows.begin); i < end; ++i) {
      const Kind kind = KindOf(ids[i]);
      if (kind == kOther || (i + 1 < begin[1] && KindOf(ids[i + 1]) == kind)) continue;
      found[i - rows.begin] = RowOfWord(keys, ids, *begin, i + 1, kind);
    }
  }
}

}  // namespace longwave
