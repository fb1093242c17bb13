#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "model/attention/routes/fused_chunkwise.h"
#include "model/attention/routes/fused_tiles.h"
#include "model/torch/csrc/fused_call.h"

namespace longwave::torch_ops {
namespace {

at::Tensor WithUnitColumns(const at::Tensor& rows) {
  return rows.stride(3) == 1 ? rows : rows.contiguous();
}

// Runs all pieces of a phase of all passes before those of the next one.
void RunPasses(const std::vector<std::unique_ptr<AttentionPass>>& passes) {
  int phases = 0;
  for (const auto& pass : passes) phases = std::max(phases, pass->phases());
  for (int phase = 0; phase < phases; ++phase) {
    std::vector<std::pair<AttentionPass*, int64_t>> pieces;
    for (const auto& pass : passes) {
      if (phase >= pass->phases()) continue;
      const int64_t count = pass->Pieces(phase);
      for (int64_t piece = 0; piece < count; ++piece) pieces.emplace_back(pass.get(), piece);
    }
    at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) pieces[i].first->Run(phase, pieces[i].second);
    });
  }
}

}  // namespace

Output FusedForward(const FusedCall& call) {
  const Problem& problem = call.problem();
  const at::Tensor q = WithUnitColumns(problem.q);
  const at::Tensor k = WithUnitColumns(problem.k);
  const at::Tensor v = WithUnitColumns(problem.v);
  Output output = {.out = at::empty(problem.q.sizes(), problem.q.options()),
                   .denominator = at::empty(problem.q.sizes().slice(0, 3), problem.q.options())};
  const auto bands =
      std::make_shared<const FusedBands>(MakeFusedBands(call.weights(), call.heads()));
  std::vector<std::unique_ptr<AttentionPass>> passes;
  for (int64_t b = 0; b < problem.batch(); ++b) {
    const int64_t n = call.Length(b);
    output.out[b].slice(0, n).zero_();
    output.denominator[b].slice(0, n).fill_(1);
    if (n == 0) continue;
    const auto rows = [&](const at::Tensor& tensor) { return tensor.select(0, b).slice(0, 0, n); };
    RouteContext context = {.heads = call.heads(),
                            .q = rows(q),
                            .k = rows(k),
                            .v = rows(v),
                            .out = rows(output.out),
                            .denominators = rows(output.denominator)};
    const double linear = FusedChunkwiseCost(*call.layer(), *bands, n).flops;
    const double quadratic =
        FusedTilesCost(*call.layer(), problem.heads(), problem.causal, n).flops;
    passes.push_back(linear < quadratic
                         ? MakeFusedChunkwisePass(std::move(context), call.layer(), bands)
                         : MakeFusedTilesPass(std::move(context), call.layer()));
  }
  RunPasses(passes);
  return output;
}

}  // namespace longwave::torch_ops
