#include "model/attention/phased_pass.h"

#include <utility>

namespace longwave {

SequentialPass::SequentialPass(std::vector<std::unique_ptr<AttentionPass>> parts)
    : parts_(std::move(parts)) {
  for (const auto& part : parts_) {
    for (int phase = 0; phase < part->phases(); ++phase) phases_.push_back({part.get(), phase});
  }
}

int64_t SequentialPass::Pieces(int phase) const {
  return phases_[phase].part->Pieces(phases_[phase].phase);
}

double SequentialPass::PieceFlops(int phase) const {
  return phases_[phase].part->PieceFlops(phases_[phase].phase);
}

void SequentialPass::Run(int phase, int64_t piece) {
  phases_[phase].part->Run(phases_[phase].phase, piece);
}

absl::Status SequentialPass::status() const {
  for (const auto& part : parts_) {
    if (absl::Status status = part->status(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

int64_t SequentialPass::ResidentBytes() const {
  int64_t bytes = 0;
  for (const auto& part : parts_) bytes += part->ResidentBytes();
  return bytes;
}

}  // namespace longwave
