// The derivatives of a tile's sums, for training.

#include <cstdint>

#include "model/kernels/cpu/kernel_parts.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/cpu/gradient_tile.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "hwy/highway.h"
#include "model/kernels/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {
namespace {

// Diagonals of a tile are added up in so many copies, one for each row of a panel: the next row's
// are the same floats one place on, and a load of what was just stored elsewhere than it is read
// has to wait for the store.
constexpr int64_t kCopies = 8;
constexpr int64_t kCopyFloats = kRowBlock + kTileKeys;

// scores = c o v.
template <int kVectors>
struct ScoreOut {
  const float* c;  // of (row 0, the panel's first key)
  float* scores;   // [kRowBlock][kTileKeys], at the panel's first key
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const Vector weight = hn::Mul(v[j], hn::LoadU(d, c - r + j * kLanes));
      hn::Store(weight, d, scores + r * kTileKeys + j * kLanes);
    }
  }
};

// grads = c o v, and v o scores, the derivative by b, to its diagonals.
template <int kVectors>
struct GradOut {
  const float* c;
  const float* scores;
  float* grads;      // [kRowBlock][kTileKeys]
  float* diagonals;  // [kCopies][kCopyFloats], at (row 0, the panel's first key)
  HWY_INLINE void Row(int64_t r, const Vector (&v)[kVectors]) const {
    const Floats d;
    float* const diagonal = diagonals + (r % kCopies) * kCopyFloats - r;
#pragma GCC unroll 16
    for (int j = 0; j < kVectors; ++j) {
      const Vector weight = hn::Mul(v[j], hn::LoadU(d, c - r + j * kLanes));
      hn::Store(weight, d, grads + r * kTileKeys + j * kLanes);
      const Vector score = hn::Load(d, scores + r * kTileKeys + j * kLanes);
      const Vector old = hn::LoadU(d, diagonal + j * kLanes);
      hn::StoreU(hn::MulAdd(v[j], score, old), d, diagonal + j * kLanes);
    }
  }
};

// What one tile of kTileKeys keys holds on its way.
struct Workspace {
  HWY_ALIGN float scores[kRowBlock * kTileKeys];
  HWY_ALIGN float grads[kRowBlock * kTileKeys];
  HWY_ALIGN float diagonals[kCopies * kCopyFloats];
};

// Both products of `kGroups` groups of keys, the first of which is `local` in the workspace.
template <int kGroups>
HWY_INLINE void Panels(const HeadShape& shape, const GradientTile& tile, int64_t group,
                       int64_t local, Workspace& work) {
  constexpr int kVectors = kGroups * kGroupVectors;
  const int64_t m = shape.features;
  const int64_t columns = shape.head_dim + 1;
  // Vectors of one group are adjacent; those of the next group, which only a panel of one vector a
  // group has, a group apart.
  const float* const c = tile.weights + group * kKeyGroup;
  float* const scores = work.scores + local * kKeyGroup;
  Product<kVectors>(tile.rows, tile.queries, PaddedColumns(m), tile.keys + group * m * kKeyGroup,
                    kKeyGroup, kGroupVectors == 1 ? m * kKeyGroup : kLanes, m,
                    ScoreOut<kVectors>{c, scores});
  Product<kVectors>(tile.rows, tile.row_grads, PaddedColumns(columns),
                    tile.values + group * columns * kKeyGroup, kKeyGroup,
                    kGroupVectors == 1 ? columns * kKeyGroup : kLanes, columns,
                    GradOut<kVectors>{c, scores, work.grads + local * kKeyGroup,
                                      work.diagonals + kRowBlock - 1 + local * kKeyGroup});
}

// diagonals[b - a] of a tile from its copies.
HWY_INLINE void AddDiagonals(const Workspace& work, int64_t rows, int64_t keys, float* diagonals) {
  for (int64_t o = 1 - rows; o < keys; ++o) {
    float sum = 0;
    for (int64_t copy = 0; copy < kCopies; ++copy) {
      sum += work.diagonals[copy * kCopyFloats + kRowBlock - 1 + o];
    }
    diagonals[o] += sum;
  }
}

void AccumulateGradients(const HeadShape& shape, const GradientTile& tile) {
  const int64_t query_columns = PaddedColumns(shape.features);
  const int64_t value_columns = PaddedColumns(shape.head_dim);
  Workspace work;
  for (int64_t first = 0; first < tile.groups; first += kTileGroups) {
    const int64_t left = tile.groups - first;
    const int64_t groups = left < kTileGroups ? left : kTileGroups;
    const int64_t key = first * kKeyGroup;
    const int64_t keys = groups * kKeyGroup;
    for (float& diagonal : work.diagonals) diagonal = 0;
    int64_t local = 0;
    for (; local + kPanelGroups <= groups; local += kPanelGroups) {
      Panels<kPanelGroups>(shape, tile, first + local, local, work);
    }
    for (; local < groups; ++local) Panels<1>(shape, tile, first + local, local, work);
    AddDiagonals(work, tile.rows, keys, tile.diagonals + key);
    ForColumnStrips(
        query_columns,
        SumProduct<false>{tile.rows, work.grads, kTileKeys, tile.key_rows + key * query_columns,
                          query_columns, keys, nullptr, tile.query_sums});
    ForColumnStrips(query_columns, SumProduct<false, Left::kTransposed>{
                                       keys, work.grads, kTileKeys, tile.queries, query_columns,
                                       tile.rows, nullptr, tile.key_sums + key * query_columns});
    ForColumnStrips(value_columns, SumProduct<false, Left::kTransposed>{
                                       keys, work.scores, kTileKeys, tile.out_grads, value_columns,
                                       tile.rows, nullptr, tile.value_sums + key * value_columns});
  }
}

}  // namespace

GradientKernels GetGradientKernels() { return {&AccumulateGradients}; }

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::cpu {

HWY_EXPORT(GetGradientKernels);

GradientKernels GradientKernelsAt(size_t index) {
  return HWY_DISPATCH_TABLE(GetGradientKernels)[index]();
}

}  // namespace longwave::cpu
#endif
