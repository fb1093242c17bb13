#include "model/kernels/cpu/kernels.h"

#include "hwy/targets.h"
#include "model/kernels/cpu/aligned_floats.h"
#include "model/kernels/cpu/kernel_parts.h"

namespace longwave::cpu {
namespace {

struct TargetName {
  int64_t target;
  const char* name;
};
// Best first.
constexpr TargetName kTargets[] = {{HWY_AVX3, "avx512"},
                                   {HWY_AVX2, "avx2"},
                                   {HWY_SSE4, "sse4"},
                                   {HWY_NEON, "neon"},
                                   {HWY_EMU128 | HWY_SCALAR, "scalar"}};

Kernels MakeKernels(const TargetName& target) {
  hwy::ChosenTarget chosen;
  chosen.Update(target.target);
  const FeatureKernels features = FeatureKernelsAt(chosen.GetIndex());
  const TileKernels tile = TileKernelsAt(chosen.GetIndex());
  const GradientKernels gradients = GradientKernelsAt(chosen.GetIndex());
  return {.name = target.name,
          .query_features = features.query_features,
          .key_features = features.key_features,
          .pack_values = features.pack_values,
          .accumulate_tile = tile.accumulate_tile,
          .accumulate_state = tile.accumulate_state,
          .apply_state = tile.apply_state,
          .multiply = tile.multiply,
          .combine = tile.combine,
          .divide = tile.divide,
          .accumulate_gradients = gradients.accumulate_gradients,
          .feature_gradients = features.feature_gradients,
          .pack_columns = features.pack_columns,
          .transforms = FftKernelsAt(chosen.GetIndex())};
}

const std::vector<Kernels>& AllKernels() {
  static const auto* const kAll = [] {
    auto* const all = new std::vector<Kernels>;
    const int64_t runnable = (hwy::SupportedTargets() | HWY_EMU128 | HWY_SCALAR) & HWY_TARGETS;
    for (const TargetName& target : kTargets) {
      if ((target.target & runnable) != 0) all->push_back(MakeKernels(target));
    }
    return all;
  }();
  return *kAll;
}

}  // namespace

std::vector<const Kernels*> SupportedKernels() {
  std::vector<const Kernels*> supported;
  for (const Kernels& kernels : AllKernels()) supported.push_back(&kernels);
  return supported;
}

const Kernels* FindKernels(absl::string_view name) {
  for (const Kernels& kernels : AllKernels()) {
    if (name == "auto" || name == kernels.name) return &kernels;
  }
  return nullptr;
}

float* ThreadScratch(int64_t floats) {
  thread_local AlignedFloats memory;
  if (floats > memory.size()) {
    memory = AlignedFloats();  // the old one goes first
    memory = AlignedFloats(floats);
  }
  return memory.data();
}

}  // namespace longwave::cpu
