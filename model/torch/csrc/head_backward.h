#ifndef LONGWAVE_MODEL_TORCH_CSRC_HEAD_BACKWARD_H_
#define LONGWAVE_MODEL_TORCH_CSRC_HEAD_BACKWARD_H_

#include <cstdint>
#include <vector>

#include "model/attention/fused_layer.h"
#include "model/kernels/cpu/kernels.h"

namespace longwave::torch_ops {

// Rows of one head to be written.
struct GradRows {
  float* data = nullptr;
  int64_t stride = 0;  // floats
  float* Row(int64_t row) const { return data + row * stride; }
};

// c of one head as both its sides see it.
struct BackwardBand {
  int64_t reach = 0;      // as in FusedBands
  FusedBand queries;      // keys around a query
  FusedSide keys_before;  // queries before a key, and after it: the tails of C transposed
  FusedSide keys_after;
};

// What one head of one sequence is differentiated from and to. g is the derivative by z.
struct HeadProblem {
  const cpu::Kernels* kernels = nullptr;
  cpu::HeadFeatures features;  // `padded` set
  const BackwardBand* band = nullptr;
  bool causal = false;
  int64_t tokens = 0;
  cpu::StridedRows q, k, v, z, g;
  cpu::StridedRows denominators;             // rows of one float
  GradRows dq, dk, dv;                       // written
  std::vector<double>* near_grad = nullptr;  // by b(o), o in [-R, R]; added to
};

// The derivatives of one head in fp32, features formed anew. Two walks over the sequence in blocks
// of 48 queries, each with a window of keys that moves along:
//   forwards   the band around each block, in tiles, and what a block owes to keys before its band
//              and a key to queries before its own: running states that grow with the walk;
//   backwards  the same for keys and queries after the band.
// States are [v | 1]^T phi(k) for queries, [g / D | -(g . z) / D]^T phi(q) for keys. O(n (K + m) d)
// time; no memory grows with n. Runs on the calling thread, in its cpu::ThreadScratch.
void DifferentiateHead(const HeadProblem& problem);

}  // namespace longwave::torch_ops

#endif  // LONGWAVE_MODEL_TORCH_CSRC_HEAD_BACKWARD_H_
