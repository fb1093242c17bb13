#include "model/attention/key_maximum.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/attention/rows.h"

namespace longwave {

int64_t KeyMaximum::Pieces(const BoundFeatures& features, int64_t tokens) {
  return features.stabilised() ? (tokens + kRows - 1) / kRows : 0;
}

KeyMaximum::KeyMaximum(const BoundFeatures& features, const RouteContext& context)
    : features_(features), context_(context), maxima_(Pieces(features, context.tokens())) {}

void KeyMaximum::Run(int64_t piece) {
  const int64_t begin = piece * kRows;
  const int64_t end = std::min(begin + kRows, context_.tokens());
  // Unpadded: a row of padding must not be the largest.
  const RowRange range{.begin = begin, .count = end - begin, .padded = end - begin};
  maxima_[piece] =
      features_.KeyMaximum(GatherRows(context_.k, context_.heads, range, context_.precision));
}

void KeyMaximum::Finish() {
  value_ = at::amax(at::stack(maxima_), {0});
  maxima_.clear();
}

}  // namespace longwave
