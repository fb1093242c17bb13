#include "model/attention/rows.h"

#include <ATen/ATen.h>

namespace longwave {
namespace {

constexpr int64_t kRowMultiple = 32;

// target[h, first + r] = source[r, heads[h]].
void CopyHeads(const at::Tensor& source, const std::vector<int64_t>& heads, at::Tensor target) {
  if (static_cast<int64_t>(heads.size()) == source.size(1)) {
    target.copy_(source.transpose(0, 1));
    return;
  }
  for (size_t h = 0; h < heads.size(); ++h) target.select(0, h).copy_(source.select(1, heads[h]));
}

}  // namespace

RowRange PaddedRange(int64_t begin, int64_t end) {
  const int64_t count = end - begin;
  return {.begin = begin,
          .count = count,
          .padded = (count + kRowMultiple - 1) / kRowMultiple * kRowMultiple};
}

at::Tensor GatherRows(const at::Tensor& source, const std::vector<int64_t>& heads, RowRange range,
                      at::ScalarType type) {
  at::Tensor rows = at::empty({static_cast<int64_t>(heads.size()), range.padded, source.size(2)},
                              source.options().dtype(type));
  CopyHeads(source.narrow(0, range.begin, range.count), heads, rows.narrow(1, 0, range.count));
  ZeroPadding(rows, range);
  return rows;
}

at::Tensor GatherReversed(const at::Tensor& source, const std::vector<int64_t>& heads,
                          RowRange range, at::ScalarType type) {
  at::Tensor rows = at::empty({static_cast<int64_t>(heads.size()), range.padded, source.size(2)},
                              source.options().dtype(type));
  const int64_t padding = range.padded - range.count;
  CopyHeads(source.narrow(0, range.begin, range.count).flip(0), heads,
            rows.narrow(1, padding, range.count));
  rows.narrow(1, 0, padding).zero_();
  return rows;
}

at::Tensor GatherValues(const at::Tensor& source, const std::vector<int64_t>& heads, RowRange range,
                        at::ScalarType type) {
  const int64_t d = source.size(2);
  at::Tensor rows = at::empty({static_cast<int64_t>(heads.size()), range.padded, d + 1},
                              source.options().dtype(type));
  at::Tensor present = rows.narrow(1, 0, range.count);
  CopyHeads(source.narrow(0, range.begin, range.count), heads, present.narrow(2, 0, d));
  present.select(2, d).fill_(1);
  ZeroPadding(rows, range);
  return rows;
}

void ZeroPadding(at::Tensor& rows, RowRange range) {
  rows.narrow(1, range.count, range.padded - range.count).zero_();
}

void ScatterRows(const at::Tensor& z, const std::vector<int64_t>& heads, RowRange range,
                 const at::Tensor& target) {
  at::Tensor place = target.narrow(0, range.begin, range.count);
  if (static_cast<int64_t>(heads.size()) == target.size(1)) {
    place.copy_(z.transpose(0, 1));
    return;
  }
  for (size_t h = 0; h < heads.size(); ++h) place.select(1, heads[h]).copy_(z.select(0, h));
}

void ScatterReversed(const at::Tensor& z, const std::vector<int64_t>& heads, RowRange range,
                     const at::Tensor& target) {
  ScatterRows(z.narrow(1, range.padded - range.count, range.count).flip(1), heads, range, target);
}

}  // namespace longwave
