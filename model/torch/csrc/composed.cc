#include "model/torch/csrc/composed.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "model/torch/csrc/block_weights.h"
#include "model/torch/csrc/composed_features.h"

namespace longwave::torch_ops {
namespace {

using Role = ComposedFeatures::Role;

// Elements of the largest temporary of tiles: 32 MiB of doubles.
constexpr int64_t kTileElements = int64_t{1} << 22;

// [batch, n, heads, columns] -> [blocks, batch, heads, kBlock, columns], zeros at the end, so that
// any range of blocks is one contiguous run of matrices.
at::Tensor ToBlocks(const at::Tensor& rows) {
  const int64_t blocks = std::max<int64_t>(1, (rows.size(1) + kBlock - 1) / kBlock);
  const at::Tensor padded =
      at::constant_pad_nd(rows, {0, 0, 0, 0, 0, blocks * kBlock - rows.size(1)});
  return padded.view({rows.size(0), blocks, kBlock, rows.size(2), rows.size(3)})
      .permute({1, 0, 3, 2, 4})
      .contiguous();
}

at::Tensor FromBlocks(const at::Tensor& blocks, int64_t n) {
  return blocks.permute({1, 0, 3, 2, 4})
      .reshape({blocks.size(1), blocks.size(0) * kBlock, blocks.size(2), blocks.size(4)})
      .slice(1, 0, n)
      .contiguous();
}

// [blocks, batch, 1, kBlock, 1]: rows that are tokens.
at::Tensor ValidRows(const Problem& problem) {
  const auto options = problem.q.options().dtype(at::kLong);
  const at::Tensor lengths = problem.lengths.defined()
                                 ? problem.lengths
                                 : at::full({problem.batch()}, problem.tokens(), options);
  const at::Tensor valid =
      at::arange(problem.tokens(), options).unsqueeze(0) < lengths.unsqueeze(1);
  return ToBlocks(valid.view({problem.batch(), problem.tokens(), 1, 1}));
}

// Everything in blocks.
struct Blocks {
  Blocks(const Problem& problem, const at::Tensor& valid_rows)
      : valid(valid_rows),
        queries(problem, Clean(problem.q), valid, Role::kQueries),
        keys(problem, Clean(problem.k), valid, Role::kKeys),
        values(at::cat({Clean(problem.v), Ones(problem)}, -1)) {}

  // Padding may hold anything, numbers that are none among it.
  at::Tensor Clean(const at::Tensor& rows) const {
    return ToBlocks(rows).masked_fill_(valid.logical_not(), 0);
  }
  at::Tensor Ones(const Problem& problem) const {
    return valid.to(problem.q.scalar_type()).expand({-1, -1, problem.heads(), -1, -1});
  }

  at::Tensor valid;
  ComposedFeatures queries;
  ComposedFeatures keys;
  at::Tensor values;  // [v | 1]
};

at::Tensor Matrices(const at::Tensor& blocks) {
  return blocks.reshape({-1, blocks.size(3), blocks.size(4)});
}

// Calls body(shift, first, count) for all pairs (block, block + shift) of the band, so many blocks
// at a time that a tile of each fits.
template <class Body>
void ForBand(const BlockWeights& weights, const at::Tensor& blocks, const Body& body) {
  const int64_t count = blocks.size(0);
  const int64_t matrices = blocks.size(1) * blocks.size(2);
  const int64_t step =
      std::max<int64_t>(1, kTileElements / std::max<int64_t>(1, matrices * kBlock * kBlock));
  for (int64_t shift = -weights.band(); shift <= weights.band(); ++shift) {
    if ((shift > 0 && weights.blind_after()) || (shift < 0 && weights.blind_before())) continue;
    const int64_t end = std::min(count, count - shift);
    for (int64_t first = std::max<int64_t>(0, -shift); first < end; first += step) {
      body(shift, first, std::min(step, end - first));
    }
  }
}

// (x y^T) of pairs of blocks, [blocks, batch, heads, kBlock, kBlock].
at::Tensor Scores(const at::Tensor& x, const at::Tensor& y, int64_t shift, int64_t first,
                  int64_t count) {
  const at::Tensor here = x.slice(0, first, first + count);
  const at::Tensor there = y.slice(0, first + shift, first + shift + count);
  return at::bmm(Matrices(here), Matrices(there).transpose(1, 2))
      .view({count, x.size(1), x.size(2), kBlock, kBlock});
}

// sum over j of c(j - i) (x_i . y_j) z_j, in two parts: by the band, and by each side beyond it.
struct LinearAttention {
  const at::Tensor& x;  // [blocks, batch, heads, kBlock, a]
  const at::Tensor& y;  // [..., a]
  const at::Tensor& z;  // [..., e]
  const BlockWeights& weights;

  at::Tensor Band() const {
    at::Tensor out = at::zeros({x.size(0), x.size(1), x.size(2), kBlock, z.size(4)}, z.options());
    int64_t tile_shift = std::numeric_limits<int64_t>::max();
    at::Tensor tile;
    ForBand(weights, x, [&](int64_t shift, int64_t first, int64_t count) {
      if (shift != tile_shift) tile = weights.Tile(shift);
      tile_shift = shift;
      at::Tensor scores = Scores(x, y, shift, first, count);
      scores.mul_(tile);
      Matrices(out.slice(0, first, first + count))
          .baddbmm_(Matrices(scores), Matrices(z.slice(0, first + shift, first + shift + count)));
    });
    return out;
  }

  // What the blocks beyond the band on one side give. Undefined where that is nothing.
  at::Tensor Far(bool before) const {
    const FarSide& side = before ? weights.before() : weights.after();
    if (!side.present()) return {};
    at::Tensor states =
        at::matmul((y * side.key).transpose(3, 4), z);  // [blocks, batch, heads, a, e]
    Scan(states, side.decay, before);
    return at::matmul(x * side.query, states);
  }

  at::Tensor All() const {
    at::Tensor out = Band();
    for (const bool before : {true, false}) {
      if (const at::Tensor far = Far(before); far.defined()) out.add_(far);
    }
    return out;
  }

 private:
  // In place: sums of blocks become decayed sums of all blocks beyond the band of each one.
  void Scan(at::Tensor& sums, const at::Tensor& decay, bool before) const {
    const int64_t count = sums.size(0);
    const at::Tensor from = sums.clone();
    at::Tensor running = at::zeros_like(sums.select(0, 0));
    for (int64_t visited = 0; visited < count; ++visited) {
      const int64_t block = before ? visited : count - 1 - visited;
      const int64_t source = before ? block - weights.band() - 1 : block + weights.band() + 1;
      if (source >= 0 && source < count) running.mul_(decay).add_(from.select(0, source));
      sums.select(0, block).copy_(running);
    }
  }
};

// The derivative by b, from those by the weights: dot(contribution, x) summed over all rows.
at::Tensor SideGrad(const at::Tensor& contribution, const at::Tensor& x, int64_t heads) {
  if (!contribution.defined()) return at::zeros({heads}, x.options());
  return (contribution * x).sum({0, 1, 3, 4});
}

at::Tensor BandGrad(const at::Tensor& phi_q, const at::Tensor& phi_k, const at::Tensor& rows,
                    const at::Tensor& values, const BlockWeights& weights) {
  at::Tensor by_offset = weights.MakeBiasGrad();
  ForBand(weights, phi_q, [&](int64_t shift, int64_t first, int64_t count) {
    at::Tensor products = Scores(phi_q, phi_k, shift, first, count);
    products.mul_(Scores(rows, values, shift, first, count));
    weights.AddBiasGrad(shift, products.sum(at::IntArrayRef({0, 1})), by_offset);
  });
  return by_offset;
}

}  // namespace

Output ComposedForward(const Problem& problem) {
  const Blocks blocks(problem, ValidRows(problem));
  const BlockWeights weights(problem);
  const at::Tensor sums =
      LinearAttention{blocks.queries.phi(), blocks.keys.phi(), blocks.values, weights}.All();
  const int64_t d = problem.head_dim();
  const at::Tensor padding = blocks.valid.logical_not();
  const at::Tensor denominator = sums.slice(4, d).masked_fill(padding, 1);
  const at::Tensor z = (sums.slice(4, 0, d) / denominator).masked_fill_(padding, 0);
  return {.out = FromBlocks(z, problem.tokens()),
          .denominator = FromBlocks(denominator, problem.tokens()).squeeze(3)};
}

// With w_ij = c(j - i) phi(q_i) . phi(k_j), D_i their sum and g the derivative by z: that by w_ij
// is g~_i . [v_j | 1] with g~_i = [g_i / D_i | -(g_i . z_i) / D_i]. So phi(q), phi(k) and v get
// sums of the same kind as z itself, and b(o) the sum of w_ij times that along its diagonal.
Gradients ComposedBackward(const Problem& problem, const Output& output, const at::Tensor& grad) {
  const Blocks blocks(problem, ValidRows(problem));
  const BlockWeights weights(problem);
  const BlockWeights transposed = weights.Transposed();
  const at::Tensor inverse =
      1 / ToBlocks(output.denominator.unsqueeze(3)).masked_fill_(blocks.valid.logical_not(), 1);
  const at::Tensor row_grad = blocks.Clean(grad) * inverse;
  const at::Tensor rows =
      at::cat({row_grad, -(row_grad * blocks.Clean(output.out)).sum(-1, /*keepdim=*/true)}, -1);
  const at::Tensor& phi_q = blocks.queries.phi();
  const at::Tensor& phi_k = blocks.keys.phi();
  const int64_t n = problem.tokens();
  Gradients gradients;

  const LinearAttention by_queries = {rows, blocks.values, phi_k, weights};
  at::Tensor phi_grad = by_queries.Band();
  at::Tensor sides[2];
  for (const bool before : {true, false}) {
    const at::Tensor far = by_queries.Far(before);
    sides[before ? 0 : 1] = SideGrad(far, phi_q, problem.heads());
    if (far.defined()) phi_grad.add_(far);
  }
  gradients.q =
      FromBlocks(blocks.queries.Backward(phi_grad).masked_fill_(blocks.valid.logical_not(), 0), n);
  gradients.near = weights.FoldBiasGrad(BandGrad(phi_q, phi_k, rows, blocks.values, weights),
                                        sides[0], sides[1], problem.reach());
  phi_grad = LinearAttention{blocks.values, rows, phi_q, transposed}.All();
  gradients.k =
      FromBlocks(blocks.keys.Backward(phi_grad).masked_fill_(blocks.valid.logical_not(), 0), n);
  gradients.v = FromBlocks(LinearAttention{phi_k, phi_q, row_grad, transposed}.All(), n);
  return gradients;
}

}  // namespace longwave::torch_ops
