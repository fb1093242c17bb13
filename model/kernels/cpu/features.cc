// phi of queries and keys, and the packing of values.

#include <cmath>
#include <cstdint>

#include "model/kernels/cpu/kernel_parts.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/cpu/features.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "hwy/highway.h"
#include "model/kernels/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {
namespace {

// Squares between these neither overflow nor vanish when summed in fp32.
constexpr float kLeastSquare = 1e-24f;
constexpr float kLargestSquare = 1e30f;

float SumOfSquares(const float* row, int64_t head_dim) {
  const Floats d;
  Vector sum = hn::Zero(d);
  int64_t c = 0;
  for (; c + kLanes <= head_dim; c += kLanes) {
    const Vector x = hn::LoadU(d, row + c);
    sum = hn::MulAdd(x, x, sum);
  }
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; c < head_dim; ++c) total += row[c] * row[c];
  return total;
}

void ScaleRow(const float* row, float factor, int64_t head_dim, float* target) {
  const Floats d;
  const Vector f = hn::Set(d, factor);
  int64_t c = 0;
  for (; c + kLanes <= head_dim; c += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(d, row + c), f), d, target + c);
  }
  for (; c < head_dim; ++c) target[c] = row[c] * factor;
}

// x^ = factor * row into `target`, padded with zeros to whole vectors; the factor is returned: zero
// for a row of zeros. A row with a number that is not finite yields NaN throughout.
double Scale(const HeadFeatures& map, const float* row, float* target) {
  const int64_t padded = PaddedColumns(map.head_dim);
  for (int64_t c = map.head_dim; c < padded; ++c) target[c] = 0;
  const float square = SumOfSquares(row, map.head_dim);
  if (square >= kLeastSquare && square <= kLargestSquare) {
    const float factor = map.scale / std::sqrt(square);
    ScaleRow(row, factor, map.head_dim, target);
    return factor;
  }
  double exact = 0;
  for (int64_t c = 0; c < map.head_dim; ++c) exact += static_cast<double>(row[c]) * row[c];
  const double factor = exact == 0 ? 0 : map.scale / std::sqrt(exact);
  for (int64_t c = 0; c < map.head_dim; ++c) target[c] = static_cast<float>(row[c] * factor);
  return factor;
}

// The same; |x^|^2 / 2 is returned.
float Normalise(const HeadFeatures& map, const float* row, float* target) {
  return Scale(map, row, target) == 0 ? 0 : 0.5f * map.scale * map.scale;
}

// exp(x) for x <= 88, to 1.5 units of 2^-24: 2^n e^r with n the nearest integer to x / ln 2 and
// e^r = 1 + r + r^2 q(r), q of degree 4 fitted to 3e-9 on |r| <= ln 2 / 2. Half the operations of
// Highway's, which is made for every x. Zero below -87; above 88 a number that is not finite or too
// large to matter; NaN for NaN, since a key that is not a number must not vanish in silence.
HWY_INLINE Vector ExpOf(Vector x) {
  const Floats d;
  const hn::RebindToSigned<Floats> di;
  const Vector rounder = hn::Set(d, 12582912.0f);  // 1.5 * 2^23: its sum holds n in the low bits
  const Vector bounded = hn::Min(x, hn::Set(d, 89.0f));
  const Vector shifted = hn::MulAdd(bounded, hn::Set(d, 1.44269504f), rounder);
  const Vector n = hn::Sub(shifted, rounder);
  // ln 2 in two parts, of which the first times n is exact.
  Vector r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), bounded);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  Vector q = hn::MulAdd(hn::Set(d, 0.0013814463f), r, hn::Set(d, 0.008368781f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.041668393f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.1666652f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.49999994f));
  const Vector e = hn::Add(hn::MulAdd(q, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, shifted));
  const Vector scaled = hn::BitCast(d, hn::Add(hn::BitCast(di, e), exponent));
  const Vector result = hn::IfThenElseZero(hn::Ge(x, hn::Set(d, -87.0f)), scaled);
  return hn::MulAdd(x, hn::Zero(d), result);
}

HWY_INLINE Vector Elu(Vector x) {
  const Floats d;
  const Vector zero = hn::Zero(d);
  return hn::IfThenElse(hn::Gt(x, zero), hn::Add(x, hn::Set(d, 1.0f)), ExpOf(x));
}

// Row-major features of the queries: row r is a query, its shift one number.
template <int kVectors>
struct QueryOut {
  const float* shift;
  float* phi;
  int64_t stride;
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
    const Vector taken = hn::Set(d, shift[r]);
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      hn::Store(ExpOf(hn::Sub(v[j], taken)), d, phi + r * stride + j * kLanes);
    }
  }
};

// Feature-major features of one group of keys: row r is a feature, shifts differ by key.
struct KeyOut {
  const float* shift;  // [kKeyGroup]
  float* phi;          // [m][kKeyGroup]
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kGroupVectors]) const {
    const Floats d;
#pragma GCC unroll 16
    for (int j = 0; j < kGroupVectors; ++j) {
      const Vector taken = hn::Load(d, shift + j * kLanes);
      hn::Store(ExpOf(hn::Sub(v[j], taken)), d, phi + r * kKeyGroup + j * kLanes);
    }
  }
};

void QueryFeatures(const HeadFeatures& map, StridedRows rows, int64_t count, float* scratch,
                   float* phi) {
  const int64_t width = PaddedColumns(map.head_dim);
  const int64_t stride = PaddedColumns(map.features);
  HWY_ALIGN float shift[kRowBlock];
  for (int64_t r = 0; r < count; ++r) {
    shift[r] = map.log_norm + Normalise(map, rows.data + r * rows.stride, scratch + r * width);
  }
  if (map.kind == HeadFeatures::Kind::kElu) {
    const Floats d;
    for (int64_t i = 0; i < count * width; i += kLanes) {
      hn::Store(Elu(hn::Load(d, scratch + i)), d, phi + i);
    }
    return;
  }
  for (int64_t c = 0; c < stride; c += kColumnPad) {
    Product<kGroupVectors>(count, scratch, width, map.transposed + c, stride, kLanes, map.head_dim,
                           QueryOut<kGroupVectors>{shift, phi + c, stride});
  }
}

// target[c][b] = source[b][c] for 16 rows, `stride` apart, in blocks of 4 x 4.
void TransposeGroup(const float* source, int64_t width, int64_t stride, float* target) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t b = 0; b < kKeyGroup; ++b) {
    for (int64_t c = 0; c < width; ++c) target[c * kKeyGroup + b] = source[b * stride + c];
  }
#else
  const hn::FixedTag<float, 4> d4;
  const hn::Repartition<double, decltype(d4)> d2;
  for (int64_t b = 0; b < kKeyGroup; b += 4) {
    const float* from = source + b * stride;
    for (int64_t c = 0; c < width; c += 4) {
      const auto r0 = hn::Load(d4, from + c);
      const auto r1 = hn::Load(d4, from + stride + c);
      const auto r2 = hn::Load(d4, from + 2 * stride + c);
      const auto r3 = hn::Load(d4, from + 3 * stride + c);
      const auto lo01 = hn::BitCast(d2, hn::InterleaveLower(d4, r0, r1));
      const auto hi01 = hn::BitCast(d2, hn::InterleaveUpper(d4, r0, r1));
      const auto lo23 = hn::BitCast(d2, hn::InterleaveLower(d4, r2, r3));
      const auto hi23 = hn::BitCast(d2, hn::InterleaveUpper(d4, r2, r3));
      float* to = target + c * kKeyGroup + b;
      hn::Store(hn::BitCast(d4, hn::InterleaveLower(d2, lo01, lo23)), d4, to);
      hn::Store(hn::BitCast(d4, hn::InterleaveUpper(d2, lo01, lo23)), d4, to + kKeyGroup);
      hn::Store(hn::BitCast(d4, hn::InterleaveLower(d2, hi01, hi23)), d4, to + 2 * kKeyGroup);
      hn::Store(hn::BitCast(d4, hn::InterleaveUpper(d2, hi01, hi23)), d4, to + 3 * kKeyGroup);
    }
  }
#endif
}

void KeyFeatureGroup(const HeadFeatures& map, StridedRows rows, int64_t count, float* scratch,
                     float* phi) {
  const int64_t width = PaddedColumns(map.head_dim);
  float* const transposed = scratch + kKeyGroup * width;
  HWY_ALIGN float shift[kKeyGroup];
  for (int64_t b = 0; b < kKeyGroup; ++b) {
    if (b < count) {
      shift[b] = map.log_norm + Normalise(map, rows.data + b * rows.stride, scratch + b * width);
      continue;
    }
    // exp(0 - 1e4) is zero: what a padding key has to be.
    shift[b] = 1e4f;
    for (int64_t c = 0; c < width; ++c) scratch[b * width + c] = 0;
  }
  TransposeGroup(scratch, width, width, transposed);
  if (map.kind == HeadFeatures::Kind::kElu) {
    const Floats d;
    for (int64_t r = 0; r < map.features; ++r) {
      for (int j = 0; j < kGroupVectors; ++j) {
        const Vector x = hn::Load(d, transposed + r * kKeyGroup + j * kLanes);
        const auto padding = hn::Gt(hn::Load(d, shift + j * kLanes), hn::Set(d, 9e3f));
        hn::Store(hn::IfThenZeroElse(padding, Elu(x)), d, phi + r * kKeyGroup + j * kLanes);
      }
    }
    return;
  }
  Product<kGroupVectors>(map.features, map.projection, map.head_dim, transposed, kKeyGroup, kLanes,
                         map.head_dim, KeyOut{shift, phi});
}

void KeyFeatures(const HeadFeatures& map, StridedRows rows, int64_t count, float* scratch,
                 float* phi) {
  for (int64_t first = 0; first < count; first += kKeyGroup) {
    const int64_t keys = count - first < kKeyGroup ? count - first : kKeyGroup;
    KeyFeatureGroup(map, {rows.data + first * rows.stride, rows.stride}, keys, scratch,
                    phi + first * map.features);
  }
}

void PackValues(StridedRows rows, int64_t count, int64_t head_dim, float* values) {
  const Floats d;
  const int64_t width = PaddedColumns(head_dim);
  for (int64_t b = 0; b < RoundUp(count, kKeyGroup); ++b) {
    float* const target = values + b * width;
    int64_t c = 0;
    if (b < count) {
      const float* const row = rows.data + b * rows.stride;
      for (; c + kLanes <= head_dim; c += kLanes) {
        hn::Store(hn::LoadU(d, row + c), d, target + c);
      }
      for (; c < head_dim; ++c) target[c] = row[c];
    }
    for (; c < width; ++c) target[c] = 0;
  }
}

void PackColumns(const float* rows, int64_t stride, int64_t count, int64_t columns, float* groups) {
  const int64_t blocks = columns / 4 * 4;  // what TransposeGroup takes
  for (int64_t first = 0; first < count; first += kKeyGroup) {
    float* const target = groups + first * columns;
    const float* const from = rows + first * stride;
    const int64_t present = count - first < kKeyGroup ? count - first : kKeyGroup;
    if (present == kKeyGroup) {
      TransposeGroup(from, blocks, stride, target);
    } else {
      for (int64_t c = 0; c < blocks; ++c) {
        for (int64_t b = 0; b < kKeyGroup; ++b) {
          target[c * kKeyGroup + b] = b < present ? from[b * stride + c] : 0;
        }
      }
    }
    for (int64_t c = blocks; c < columns; ++c) {
      for (int64_t b = 0; b < kKeyGroup; ++b) {
        target[c * kKeyGroup + b] = b < present ? from[b * stride + c] : 0;
      }
    }
  }
}

// grads = grads o phi, which times W is the derivative by x^ up to a multiple of x^; for kElu
// grads o (x^ > 0 ? 1 : e^x^).
void TimesSlope(const HeadFeatures& map, int64_t floats, const float* phi, float* grads) {
  const Floats d;
  const bool elu = map.kind == HeadFeatures::Kind::kElu;
  const Vector one = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < floats; i += kLanes) {
    const Vector value = hn::Load(d, phi + i);
    const Vector slope = elu ? hn::Min(value, one) : value;
    hn::Store(hn::Mul(hn::Load(d, grads + i), slope), d, grads + i);
  }
}

// out (+)= factor (grad - x^ (grad . x^) / |x^|^2): x^ has one norm, so what points along it is
// lost.
void ProjectRow(const HeadFeatures& map, const float* grad, const float* x, float factor,
                float* out, bool add) {
  const Floats d;
  Vector sum = hn::Zero(d);
  for (int64_t c = 0; c < PaddedColumns(map.head_dim); c += kLanes) {
    sum = hn::MulAdd(hn::Load(d, grad + c), hn::Load(d, x + c), sum);
  }
  const float along = hn::GetLane(hn::SumOfLanes(d, sum)) / (map.scale * map.scale);
  const Vector f = hn::Set(d, factor);
  const Vector a = hn::Set(d, along);
  int64_t c = 0;
  for (; c + kLanes <= map.head_dim; c += kLanes) {
    const Vector across = hn::NegMulAdd(a, hn::Load(d, x + c), hn::Load(d, grad + c));
    const Vector old = add ? hn::LoadU(d, out + c) : hn::Zero(d);
    hn::StoreU(hn::MulAdd(f, across, old), d, out + c);
  }
  for (; c < map.head_dim; ++c) {
    out[c] = factor * (grad[c] - along * x[c]) + (add ? out[c] : 0);
  }
}

void FeatureGradients(const HeadFeatures& map, StridedRows rows, int64_t count, const float* phi,
                      float* phi_grads, float* scratch, float* out, int64_t out_stride, bool add) {
  const int64_t width = PaddedColumns(map.head_dim);
  TimesSlope(map, count * PaddedColumns(map.features), phi, phi_grads);
  const float* by_x = phi_grads;  // kElu
  float* const x = scratch + kRowBlock * width;
  if (map.kind != HeadFeatures::Kind::kElu) {
    for (int64_t i = 0; i < count * width; ++i) scratch[i] = 0;
    ForColumnStrips(width, SumProduct<false>{count, phi_grads, PaddedColumns(map.features),
                                             map.padded, width, map.features, nullptr, scratch});
    by_x = scratch;
  }
  for (int64_t r = 0; r < count; ++r) {
    const double factor = Scale(map, rows.data + r * rows.stride, x);
    ProjectRow(map, by_x + r * width, x, static_cast<float>(factor), out + r * out_stride, add);
  }
}

}  // namespace

FeatureKernels GetFeatureKernels() {
  return {&QueryFeatures, &KeyFeatures, &PackValues, &PackColumns, &FeatureGradients};
}

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::cpu {

HWY_EXPORT(GetFeatureKernels);

FeatureKernels FeatureKernelsAt(size_t index) {
  return HWY_DISPATCH_TABLE(GetFeatureKernels)[index]();
}

}  // namespace longwave::cpu
#endif
