#ifndef LONGWAVE_MODEL_ATTENTION_PHASED_PASS_H_
#define LONGWAVE_MODEL_ATTENTION_PHASED_PASS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/attention/attention.h"

namespace longwave {

// Memory traffic costs time too: a phase that only moves bytes counts them as so many operations
// (100 GFLOP/s of matrix products beside 10 GB/s of one core's memory).
inline constexpr double kFlopsPerByte = 10;

// Floating-point operations that one piece aims at: about 5 ms on a core, so that slices of a few
// pieces on every core stay below 20 ms on machines half as fast.
inline constexpr double kPieceFlops = 5e8;

// What a FLOP costs in the routes that are composed of LibTorch's operators, beside one of a large
// matrix product: their products are of 64 to 128 rows, with element-wise passes between them. The
// routes on our own kernels run at the rate of large products.
inline constexpr double kComposedTilesWeight = 2;
inline constexpr double kComposedChunkwiseWeight = 3;

// A pass made of a list of phases.
class PhasedPass : public AttentionPass {
 public:
  int phases() const override { return static_cast<int>(phases_.size()); }
  int64_t Pieces(int phase) const override {
    return phases_[phase].count ? phases_[phase].count() : phases_[phase].pieces;
  }
  double PieceFlops(int phase) const override {
    return Pieces(phase) > 0 ? phases_[phase].flops : 0;
  }
  void Run(int phase, int64_t piece) override { phases_[phase].run(piece); }
  absl::Status status() const override { return absl::OkStatus(); }

 protected:
  // Phases run in the order of these calls. Nothing is added for zero pieces.
  void AddPhase(int64_t pieces, double flops, std::function<void(int64_t piece)> run) {
    if (pieces > 0) phases_.push_back({pieces, flops, std::move(run), nullptr});
  }
  // Of as many pieces as `count` says when the phases before have run.
  void AddCountedPhase(std::function<int64_t()> count, double flops,
                       std::function<void(int64_t piece)> run) {
    phases_.push_back({0, flops, std::move(run), std::move(count)});
  }

 private:
  struct Phase {
    int64_t pieces;
    double flops;
    std::function<void(int64_t)> run;
    std::function<int64_t()> count;  // in place of `pieces`, if set
  };
  std::vector<Phase> phases_;
};

// Passes over different heads of one sequence, one after another. At least one.
class SequentialPass final : public AttentionPass {
 public:
  explicit SequentialPass(std::vector<std::unique_ptr<AttentionPass>> parts);
  int phases() const override { return static_cast<int>(phases_.size()); }
  int64_t Pieces(int phase) const override;
  double PieceFlops(int phase) const override;
  void Run(int phase, int64_t piece) override;
  absl::Status status() const override;
  int64_t ResidentBytes() const override;

 private:
  struct Phase {
    AttentionPass* part;
    int phase;
  };
  std::vector<std::unique_ptr<AttentionPass>> parts_;
  std::vector<Phase> phases_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ATTENTION_PHASED_PASS_H_
