#include "tests/bench/rooflines.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <memory>

#include "model/encoder/linear.h"

namespace longwave {
namespace {

// Far beyond every cache.
constexpr int64_t kCopyFloats = int64_t{32} << 20;
// 1 MiB: exp is measured, not memory.
constexpr int64_t kExpFloats = int64_t{1} << 18;

std::function<void()> LibraryThreads(int threads) {
  return [threads] { at::set_num_threads(threads); };
}

at::Tensor RandomSquare() { return at::randn({kSgemmSize, kSgemmSize}, at::kFloat); }

Contender CopyContender(int threads) {
  const at::Tensor from = at::randn({kCopyFloats}, at::kFloat);
  const at::Tensor to = at::zeros_like(from);
  return {"copy", [=] { to.copy_(from); }, LibraryThreads(threads)};
}

Contender ExpContender(int threads) {
  const at::Tensor x = at::randn({kExpFloats}, at::kFloat);
  const at::Tensor y = at::zeros_like(x);
  return {"exp",
          [=] {
            at::Tensor out = y;
            at::exp_out(out, x);
          },
          LibraryThreads(threads)};
}

}  // namespace

Contender SgemmContender(int threads) {
  const at::Tensor a = RandomSquare(), b = RandomSquare(), c = at::zeros_like(a);
  return {"sgemm",
          [=] {
            at::Tensor out = c;
            at::mm_out(out, a, b);
          },
          LibraryThreads(threads)};
}

Contender PackedSgemmContender(int threads) {
  const at::Tensor a = RandomSquare();
  const auto packed = std::make_shared<const Linear>(RandomSquare(), at::Tensor(), kSgemmSize);
  return {"sgemm_packed", [=] { packed->Apply(a, PostOp::kNone); }, LibraryThreads(threads)};
}

absl::StatusOr<Rooflines> MeasureRooflines(int threads, const MeasureOptions& options,
                                           const Clock& clock) {
  const auto samples = Measure({SgemmContender(threads), PackedSgemmContender(threads),
                                CopyContender(threads), ExpContender(threads)},
                               options, clock);
  if (!samples.ok()) return samples.status();
  Rooflines lines;
  lines.sgemm = kSgemmFlops / (*samples)[0].Median();
  const double packed = kSgemmFlops / (*samples)[1].Median();
  lines.sgemm_best = std::max(lines.sgemm, packed);
  lines.sgemm_best_library = packed > lines.sgemm ? CpuLinearKernels() : "at::mm";
  lines.copy = 2.0 * sizeof(float) * kCopyFloats / (*samples)[2].Median();
  lines.exp = kExpFloats / (*samples)[3].Median();
  return lines;
}

}  // namespace longwave
