// The products of phi(q), phi(k), v and states.

#include <cmath>
#include <cstdint>
#include <limits>

#include "model/kernels/cpu/kernel_parts.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/cpu/tile.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "hwy/highway.h"
#include "model/kernels/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {
namespace {

// Stores c o (phi(q) phi(k)^T) and adds up its rows. Register j of a panel is of key j * kLanes.
template <int kVectors>
struct ScoreOut {
  const float* c;  // of (row 0, the panel's first key)
  float* scores;   // [kRowBlock][kTileKeys], at the panel's first key
  float* partial;  // [kRowBlock][kKeyGroup]
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
    Vector total = hn::Load(d, partial + r * kKeyGroup);
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const Vector weight = hn::Mul(v[j], hn::LoadU(d, c - r + j * kLanes));
      hn::Store(weight, d, scores + r * kTileKeys + j * kLanes);
      total = hn::Add(total, weight);
    }
    hn::Store(total, d, partial + r * kKeyGroup);
  }
};

template <int kGroups>
HWY_INLINE void ScorePanel(const HeadShape& shape, const Tile& tile, int64_t group, int64_t local,
                           float* scores, float* partial) {
  constexpr int kVectors = kGroups * kGroupVectors;
  const int64_t m = shape.features;
  // Vectors of one group are adjacent; those of the next group, which only a panel of one vector a
  // group has, a group apart.
  const int64_t vector_stride = kGroupVectors == 1 ? m * kKeyGroup : kLanes;
  Product<kVectors>(
      tile.rows, tile.queries, PaddedColumns(m), tile.keys + group * m * kKeyGroup, kKeyGroup,
      vector_stride, m,
      ScoreOut<kVectors>{tile.weights + group * kKeyGroup, scores + local * kKeyGroup, partial});
}

void AccumulateTile(const HeadShape& shape, const Tile& tile, float* sums, float* weights) {
  const int64_t columns = PaddedColumns(shape.head_dim);
  HWY_ALIGN float scores[kRowBlock * kTileKeys];
  for (int64_t first = 0; first < tile.groups; first += kTileGroups) {
    const int64_t left = tile.groups - first;
    const int64_t groups = left < kTileGroups ? left : kTileGroups;
    int64_t local = 0;
    for (; local + kPanelGroups <= groups; local += kPanelGroups) {
      ScorePanel<kPanelGroups>(shape, tile, first + local, local, scores, weights);
    }
    for (; local < groups; ++local) {
      ScorePanel<1>(shape, tile, first + local, local, scores, weights);
    }
    ForColumnStrips(columns, SumProduct<false>{tile.rows, scores, kTileKeys,
                                               tile.values + first * kKeyGroup * columns, columns,
                                               groups * kKeyGroup, nullptr, sums});
  }
}

// state[r] = decay state[r] + v.
template <int kVectors>
struct StateOut {
  float* state;
  int64_t stride;
  float decay;
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
    const Vector factor = hn::Set(d, decay);
    float* const row = state + r * stride;
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      hn::Store(hn::MulAdd(hn::Load(d, row + j * kLanes), factor, v[j]), d, row + j * kLanes);
    }
  }
};

struct StateProduct {
  int64_t rows;
  const float* keys;    // [m][kTileKeys]
  const float* values;  // [depth][columns]
  int64_t columns;
  int64_t depth;
  float decay;
  float* state;
  template <int kVectors>
  HWY_INLINE void Run(int64_t c) const {
    Product<kVectors>(rows, keys, kTileKeys, values + c, columns, kLanes, depth,
                      StateOut<kVectors>{state + c, columns, decay});
  }
};

// Features whose keys are gathered at once: 24 KiB.
constexpr int64_t kGatheredFeatures = 128;

// Lays the groups of `count` features side by side, so that one product runs over all keys, applies
// the keys' weights, and adds up each feature.
void GatherKeys(const HeadShape& shape, int64_t first, int64_t count, int64_t groups,
                const float* keys, const float* key_weights, float* gathered, float decay,
                float* totals) {
  const Floats d;
  for (int64_t r = 0; r < count; ++r) {
    Vector total = hn::Zero(d);
    for (int64_t g = 0; g < groups; ++g) {
      const float* const from = keys + (g * shape.features + first + r) * kKeyGroup;
      for (int j = 0; j < kGroupVectors; ++j) {
        Vector x = hn::Load(d, from + j * kLanes);
        if (key_weights != nullptr) {
          x = hn::Mul(x, hn::LoadU(d, key_weights + g * kKeyGroup + j * kLanes));
        }
        hn::Store(x, d, gathered + r * kTileKeys + g * kKeyGroup + j * kLanes);
        total = hn::Add(total, x);
      }
    }
    totals[first + r] = decay * totals[first + r] + hn::GetLane(hn::SumOfLanes(d, total));
  }
}

void AccumulateState(const HeadShape& shape, int64_t groups, const float* keys, const float* values,
                     const float* key_weights, float decay, float* state) {
  const int64_t columns = PaddedColumns(shape.head_dim);
  HWY_ALIGN float gathered[kGatheredFeatures * kTileKeys];
  float* const totals = state + shape.features * columns;
  for (int64_t first = 0; first < shape.features; first += kGatheredFeatures) {
    const int64_t left = shape.features - first;
    const int64_t count = left < kGatheredFeatures ? left : kGatheredFeatures;
    GatherKeys(shape, first, count, groups, keys, key_weights, gathered, decay, totals);
    ForColumnStrips(columns, StateProduct{count, gathered, values, columns, groups * kKeyGroup,
                                          decay, state + first * columns});
  }
}

void ApplyState(const HeadShape& shape, int64_t rows, const float* queries, const float* state,
                const float* row_factors, float* sums, float* weights) {
  const Floats d;
  const int64_t columns = PaddedColumns(shape.head_dim);
  const int64_t stride = PaddedColumns(shape.features);
  if (row_factors == nullptr) {
    ForColumnStrips(columns, SumProduct<false>{rows, queries, stride, state, columns,
                                               shape.features, nullptr, sums});
  } else {
    ForColumnStrips(columns, SumProduct<true>{rows, queries, stride, state, columns, shape.features,
                                              row_factors, sums});
  }
  const float* const totals = state + shape.features * columns;
  for (int64_t r = 0; r < rows; ++r) {
    Vector total = hn::Zero(d);
    for (int64_t c = 0; c < stride; c += kLanes) {
      total = hn::MulAdd(hn::Load(d, queries + r * stride + c), hn::Load(d, totals + c), total);
    }
    if (row_factors != nullptr) total = hn::Mul(total, hn::Set(d, row_factors[r]));
    float* const partial = weights + r * kKeyGroup;
    hn::Store(hn::Add(hn::Load(d, partial), total), d, partial);
  }
}

// out[r] = v.
struct StoreOut {
  float* out;
  int64_t stride;
  template <int kVectors>
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) hn::Store(v[j], d, out + r * stride + j * kLanes);
  }
};

// Strips of columns, each copied first, so that its rows lie beside each other in the second-level
// cache however far apart those of b are.
struct StripProduct {
  int64_t rows;
  int64_t depth;
  const float* a;
  int64_t a_stride;
  const float* b;
  int64_t b_stride;
  float* strip;
  float* out;
  int64_t out_stride;
  template <int kVectors>
  HWY_INLINE void Run(int64_t c) const {
    const Floats d;
    constexpr int64_t kWidth = kVectors * kLanes;
    for (int64_t k = 0; k < depth; ++k) {
#pragma GCC unroll 16
      for (int j = 0; j < kVectors; ++j) {
        hn::Store(hn::Load(d, b + k * b_stride + c + j * kLanes), d,
                  strip + k * kWidth + j * kLanes);
      }
    }
    Product<kVectors>(rows, a, a_stride, strip, kWidth, kLanes, depth,
                      StoreOut{out + c, out_stride});
  }
};

void Multiply(int64_t rows, int64_t depth, int64_t columns, const float* a, int64_t a_stride,
              const float* b, int64_t b_stride, float* scratch, float* out, int64_t out_stride) {
  ForColumnStrips(columns,
                  StripProduct{rows, depth, a, a_stride, b, b_stride, scratch, out, out_stride});
}

void Combine(int64_t count, float a, const float* x, float b, const float* y, float* out) {
  const Floats d;
  const Vector va = hn::Set(d, a);
  const Vector vb = hn::Set(d, b);
  for (int64_t i = 0; i < count; i += kLanes) {
    hn::Store(hn::MulAdd(va, hn::Load(d, x + i), hn::Mul(vb, hn::Load(d, y + i))), d, out + i);
  }
}

int64_t Divide(const HeadShape& shape, int64_t count, const float* sums, const float* weights,
               float* out, int64_t stride) {
  const Floats d;
  const int64_t columns = PaddedColumns(shape.head_dim);
  const Vector largest = hn::Set(d, std::numeric_limits<float>::max());
  int64_t bad = 0;
  for (int64_t r = 0; r < count; ++r) {
    Vector partial = hn::Load(d, weights + r * kKeyGroup);
    for (int j = 1; j < kGroupVectors; ++j) {
      partial = hn::Add(partial, hn::Load(d, weights + r * kKeyGroup + j * kLanes));
    }
    const Vector denominator = hn::SumOfLanes(d, partial);
    const float* const row = sums + r * columns;
    float* const target = out + r * stride;
    auto finite = hn::And(hn::Gt(denominator, hn::Zero(d)), hn::Le(denominator, largest));
    int64_t c = 0;
    for (; c + kLanes <= shape.head_dim; c += kLanes) {
      const Vector z = hn::Div(hn::Load(d, row + c), denominator);
      finite = hn::And(finite, hn::Le(hn::Abs(z), largest));
      hn::StoreU(z, d, target + c);
    }
    bool rest = true;
    const float divisor = hn::GetLane(denominator);
    for (; c < shape.head_dim; ++c) {
      target[c] = row[c] / divisor;
      rest = rest && std::abs(target[c]) <= std::numeric_limits<float>::max();
    }
    bad += hn::AllTrue(d, finite) && rest ? 0 : 1;
  }
  return bad;
}

}  // namespace

TileKernels GetTileKernels() {
  return {&AccumulateTile, &AccumulateState, &ApplyState, &Multiply, &Combine, &Divide};
}

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::cpu {

HWY_EXPORT(GetTileKernels);

TileKernels TileKernelsAt(size_t index) { return HWY_DISPATCH_TABLE(GetTileKernels)[index](); }

}  // namespace longwave::cpu
#endif
