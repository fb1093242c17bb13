#ifndef LONGWAVE_MODEL_ATTENTION_INTERPOLATION_H_
#define LONGWAVE_MODEL_ATTENTION_INTERPOLATION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "model/attention/toeplitz_weights.h"

// The interpolation route as it is decided at load: blocks, nodes and the certificate. Within a
// block a position x stands for nodes t_a with Lagrange weights L_a(x); blocks two or more apart
// see each other through c at differences of nodes alone:
//   c^(o) = sum over a, b of L_a(x) c(D B + t_b - t_a) L_b(y),   o = D B + y - x,   |D| >= 2.
// Blocks nearer than that are tiles, exact.
namespace longwave {

// Nodes of a block and their Lagrange polynomials.
struct InterpolationGrid {
  int64_t block = 0;             // B
  std::vector<int64_t> nodes;    // t, ascending, in [0, B)
  std::vector<double> lagrange;  // [nodes][block]: L_a(x)
  double lebesgue = 0;           // max over x of sum over a |L_a(x)|

  double L(int64_t node, int64_t x) const { return lagrange[node * block + x]; }
};

// Chebyshev nodes rounded to integers. Precondition: 2 <= nodes <= block / 8.
InterpolationGrid MakeInterpolationGrid(int64_t block, int64_t nodes);

// The block size for n tokens: the one at which tiles between near blocks and the coupling of far
// ones together cost least, rounded to a power of two in [128, 1024].
int64_t InterpolationBlock(int64_t n);

// c(o) of one head for all offsets that nodes of sequences have: beyond the longest sequence, where
// the last block may reach, log c goes on as a straight line.
class ExtendedWeights {
 public:
  ExtendedWeights(const ToeplitzWeights& weights, int head);
  double At(int64_t offset) const;
  const ToeplitzWeights& weights() const { return weights_; }

 private:
  const ToeplitzWeights& weights_;
  const int head_;
  int64_t last_ = 0;
  double slope_before_ = 0;
  double slope_after_ = 0;
};

// An upper bound of |c^(o) / c(o) - 1| over all offsets o of far blocks and all positions, for all
// lengths that take blocks of this size; infinity as soon as it exceeds `limit`. In exact
// arithmetic: what the rounding of c to fp32 adds is 2^-24 of the sum of magnitudes. Near blocks
// are evaluated outright. Farther off, the blocks' windows are taken together in spans a little
// longer than a block: if a polynomial of the grid's degree is within delta of c all over a span,
// then interpolation within any window of it is within (1 + Lebesgue) delta, and in both variables
// within (1 + Lebesgue)^2 delta.
double InterpolationError(const ExtendedWeights& weights, const InterpolationGrid& grid,
                          double limit);

// Of one head and one size of block.
struct HeadCertificate {
  int64_t nodes = 0;  // 0: refused
  double error = 0;   // max |c^ / c - 1|; refused: the smallest that was found
};

// The certificates of one layer.
class InterpolationCertificates {
 public:
  static constexpr std::array<int64_t, 4> kBlocks = {128, 256, 512, 1024};
  static constexpr int64_t kMinNodes = 3;
  static constexpr int64_t kMaxNodes = 8;

  // None: the model does not ask for the route.
  InterpolationCertificates() = default;
  // `max_error` > 0: what the model accepts. For each head and each size of block that its
  // lengths may take, the fewest nodes that stay within it.
  InterpolationCertificates(const ToeplitzWeights& weights, double max_error);

  bool asked() const { return max_error_ > 0; }
  double max_error() const { return max_error_; }
  // Precondition: asked().
  const HeadCertificate& at(int head, int64_t n) const;
  // Why no sequence of n tokens is computed so; empty if it may be.
  std::string Refusal(int64_t n) const;
  // Whether the head alone may be.
  bool Covers(int head, int64_t n) const { return asked() && at(head, n).nodes > 0; }

  // What c^ within `error` of c does to outputs: |z^_i - z_i| <= bound * sum_j w_ij |v_j - z_i| in
  // each component, w being the attention's weights, whatever the input.
  static double OutputBound(double error) { return error / (1 - error); }

 private:
  double max_error_ = 0;
  std::vector<std::array<HeadCertificate, 4>> heads_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_INTERPOLATION_H_
