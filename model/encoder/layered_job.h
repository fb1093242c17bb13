#ifndef LONGWAVE_MODEL_ENCODER_LAYERED_JOB_H_
#define LONGWAVE_MODEL_ENCODER_LAYERED_JOB_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "model/api/encoder.h"
#include "model/attention/attention.h"
#include "model/base/compute_pool.h"
#include "model/encoder/device.h"
#include "model/encoder/disposer.h"
#include "model/encoder/piece_list.h"
#include "model/encoder/row_emitter.h"
#include "model/encoder/sequence_output.h"
#include "model/encoder/stage_costs.h"
#include "model/encoder/transformer.h"

namespace longwave {

// What all jobs of an encoder share. Everything outlives the jobs.
struct JobContext {
  const Transformer* transformer = nullptr;
  ComputePool* pool = nullptr;  // null on CUDA
  Disposer* disposer = nullptr;
};

// One batch on its way through the layers, as a line of stages; each is a list of independent
// pieces, worked off slice by slice:
//   hash n-grams (where the model has them), embed, then per layer: project q, k, v | attention,
//   phase by phase | finish the layer (and fold the layer's rows into outputs, where wanted), then
//   emit.
// Row tiles lie over the flat batch; what belongs to a sequence (attention, folding) is cut
// relative to its start. `out` of the attention is the memory of q.
//
// Throws what LibTorch throws: TransformerEncoder turns that into a status and ends the job.
class LayeredJob {
 public:
  // Precondition: CheckBatch passed, and `routes` (one entry a sequence) passed Attention::Check.
  LayeredJob(const JobContext& context, EncoderBatch batch, std::vector<OutputSpec> outputs,
             std::vector<LayerRoutes> routes, RowSink* sink);
  ~LayeredJob();

  EncodeJob::State Step();
  void Drop(int sequence);
  int64_t ResidentBytes() const;
  double Progress() const;

 private:
  enum class Stage { kStart, kHash, kEmbed, kFold, kQkv, kAttention, kFinish, kEmit };

  struct Sequence {
    TokenRange rows;  // in the flat batch
    bool ended = false;
    LayerRoutes routes;
    SequenceOutput output;
    std::unique_ptr<AttentionPass> pass;  // while its layer's attention runs
    double pass_weight = 0;               // of its operations
  };

  // The deepest layer that a sequence still needs.
  int LayersToRun() const;
  // Leaves the stage that is done and enters the next one, which may have no pieces.
  void NextStage();
  void Allocate();
  void EnterHash();
  void EnterTiles(Stage stage, double flops_per_row);
  void EnterFold();
  void LeaveFold();
  void EnterAttention();
  void EnterAttentionPhase();
  void LeaveAttention();

  void RunPieces(PieceList::Range range);
  void RunPiece(int64_t number);
  void RunTile(int64_t tile);
  void HashTile(int64_t tile);
  // True if no sequence with rows in the tile is wanted any more.
  bool TileIsDead(int64_t tile) const;

  // Sends rows until the sink refuses, all are sent, or a Step's share is.
  EncodeJob::State Emit();
  std::vector<const float*> LastRows(const Sequence& sequence, absl::Span<const int64_t> tokens);
  void Fail(int sequence, absl::Status status);
  void End(int sequence);
  EncodeJob::State Done();

  void Free(at::Tensor& tensor);
  void Free(std::unique_ptr<AttentionPass> pass);

  double PlannedFlops() const;
  SequenceReport Report(const Sequence& sequence) const;

  const Transformer& transformer_;
  ComputePool* const pool_;
  Disposer& disposer_;
  RowSink* const sink_;
  EncoderBatch batch_;                    // token_ids is padded to whole tiles
  std::vector<int32_t> position_of_row_;  // likewise; empty unless the embedding needs it
  std::vector<Sequence> sequences_;
  int live_ = 0;  // sequences that have not ended
  DeviceStream stream_;

  Stage stage_ = Stage::kStart;
  int layer_ = 0;  // the layer at work; kFold: how many layers the rows have passed
  int phase_ = 0;
  int phases_ = 0;
  PieceList pieces_;
  int emitting_ = 0;
  RowEmitter emitter_;
  at::Tensor emitted_rows_;  // CUDA: the host copy that LastRows points into

  int64_t tiles_ = 0;
  at::Tensor ids_;        // [padded rows] int32
  at::Tensor positions_;  // [padded rows] int32, if the embedding needs them
  at::Tensor ngrams_;     // [padded rows, sizes] int32 buckets, on the host until all are hashed
  at::Tensor words_;      // [padded rows, 1] int32 rows of the words' table, likewise
  at::Tensor x_;          // [padded rows, hidden]
  at::Tensor qkv_;        // [padded rows, 3 * heads * head_dim]

  double flops_done_ = 0;
  double flops_total_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_LAYERED_JOB_H_
