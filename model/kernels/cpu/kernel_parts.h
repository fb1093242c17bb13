#ifndef LONGWAVE_MODEL_KERNELS_CPU_KERNEL_PARTS_H_
#define LONGWAVE_MODEL_KERNELS_CPU_KERNEL_PARTS_H_

#include <cstddef>

#include "model/kernels/cpu/kernels.h"

// Internal: what each dispatched source contributes to Kernels.
namespace longwave::cpu {

struct FeatureKernels {
  decltype(Kernels::query_features) query_features;
  decltype(Kernels::key_features) key_features;
  decltype(Kernels::pack_values) pack_values;
  decltype(Kernels::pack_columns) pack_columns;
  decltype(Kernels::feature_gradients) feature_gradients;
};

struct GradientKernels {
  decltype(Kernels::accumulate_gradients) accumulate_gradients;
};

struct TileKernels {
  decltype(Kernels::accumulate_tile) accumulate_tile;
  decltype(Kernels::accumulate_state) accumulate_state;
  decltype(Kernels::apply_state) apply_state;
  decltype(Kernels::multiply) multiply;
  decltype(Kernels::combine) combine;
  decltype(Kernels::divide) divide;
};

// Of the instruction set at this index of Highway's dispatch tables.
FeatureKernels FeatureKernelsAt(size_t index);
TileKernels TileKernelsAt(size_t index);
GradientKernels GradientKernelsAt(size_t index);

}  // namespace longwave::cpu

#endif  // LONGWAVE_MODEL_KERNELS_CPU_KERNEL_PARTS_H_
