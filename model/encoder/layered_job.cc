#include "model/encoder/layered_job.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/encoder/ngram_buckets.h"
#include "model/encoder/word_rows.h"

namespace longwave {
namespace {

// Rows sent in one Step: 8 MiB are gathered in a few milliseconds.
constexpr int64_t kEmitBytesPerStep = int64_t{8} << 20;
// What a sequence adds to that beside its rows, so that a batch of thousands is cut too.
constexpr int64_t kEmitBytesPerCall = 4096;

// Freeing less than this takes no millisecond.
constexpr int64_t kLargeBytes = int64_t{8} << 20;

at::Tensor Int32Rows(std::vector<int32_t>& values, c10::Device device) {
  // On the CPU this is the vector's own memory, which the job keeps.
  return at::from_blob(values.data(), {static_cast<int64_t>(values.size())}, at::kInt).to(device);
}

int64_t Bytes(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0;
}

}  // namespace

LayeredJob::LayeredJob(const JobContext& context, EncoderBatch batch,
                       std::vector<OutputSpec> outputs, std::vector<LayerRoutes> routes,
                       RowSink* sink)
    : transformer_(*context.transformer),
      pool_(context.pool),
      disposer_(*context.disposer),
      sink_(sink),
      batch_(std::move(batch)),
      stream_(transformer_.device()),
      emitter_(sink) {
  const int64_t hidden = transformer_.config().hidden_size;
  const int last_layer = transformer_.layers();
  live_ = batch_.sequences();
  sequences_.reserve(live_);
  for (int s = 0; s < live_; ++s) {
    sequences_.push_back(
        {.rows = {batch_.offsets[s], batch_.offsets[s + 1]},
         .routes = std::move(routes[s]),
         .output = SequenceOutput(std::move(outputs[s]), batch_.length(s), hidden, last_layer)});
  }
  const int64_t tile_rows = transformer_.tile_rows();
  tiles_ = (batch_.tokens() + tile_rows - 1) / tile_rows;
  flops_total_ = PlannedFlops();
}

double LayeredJob::PlannedFlops() const {
  const double rows = static_cast<double>(tiles_ * transformer_.tile_rows());
  double flops = rows * (HashFlopsPerRow(transformer_) + EmbedFlopsPerRow(transformer_));
  for (int layer = 0; layer < LayersToRun(); ++layer) {
    flops += rows *
             (QkvFlopsPerRow(transformer_, layer) + transformer_.layer(layer).FinishFlopsPerRow());
    for (const Sequence& sequence : sequences_) {
      const Route route = sequence.routes[layer];
      const int64_t tokens = sequence.rows.end - sequence.rows.begin;
      const Attention& attention = transformer_.attention(layer);
      flops += attention.Cost(tokens, route).flops * AttentionFlopWeight(attention, tokens, route);
    }
  }
  for (const Sequence& sequence : sequences_) {
    flops += kElementFlops * static_cast<double>(sequence.output.rows() * sequence.output.dim());
  }
  return flops;
}

EncodeJob::State LayeredJob::Step() {
  const SliceScope scope(stream_);
  double budget = kSliceFlops;
  while (live_ > 0 && stage_ != Stage::kEmit) {
    if (pieces_.done()) {
      NextStage();
      continue;
    }
    const PieceList::Range range = pieces_.Take(budget);
    RunPieces(range);
    const double cost = pieces_.Cost(range);
    flops_done_ += cost;
    budget -= cost;
    if (budget <= 0) {
      stream_.EndSlice();
      return EncodeJob::State::kMore;
    }
  }
  return live_ > 0 ? Emit() : Done();
}

void LayeredJob::NextStage() {
  switch (stage_) {
    case Stage::kStart:
      Allocate();
      return EnterHash();
    case Stage::kHash:
      for (at::Tensor* const found : {&ngrams_, &words_}) {
        if (found->defined()) *found = found->to(transformer_.device());
      }
      return EnterTiles(Stage::kEmbed, EmbedFlopsPerRow(transformer_));
    case Stage::kEmbed:
      Free(ngrams_);
      Free(words_);
      return EnterFold();
    case Stage::kFold:
      LeaveFold();
      if (layer_ < LayersToRun()) {
        return EnterTiles(Stage::kQkv, QkvFlopsPerRow(transformer_, layer_));
      }
      stage_ = Stage::kEmit;
      return Free(qkv_);
    case Stage::kQkv:
      return EnterAttention();
    case Stage::kAttention:
      if (++phase_ < phases_) return EnterAttentionPhase();
      LeaveAttention();
      return EnterTiles(Stage::kFinish, transformer_.layer(layer_).FinishFlopsPerRow());
    case Stage::kFinish:
      ++layer_;
      return EnterFold();
    case Stage::kEmit:
      return;
  }
}

int LayeredJob::LayersToRun() const {
  int layers = 0;
  for (const Sequence& sequence : sequences_) {
    if (!sequence.ended) layers = std::max(layers, sequence.output.deepest_layer());
  }
  return layers;
}

void LayeredJob::Allocate() {
  const int64_t rows = tiles_ * transformer_.tile_rows();
  const auto floats = at::TensorOptions(at::kFloat).device(transformer_.device());
  // Padded rows hold token 0 at position 0: any row that stays finite would do.
  batch_.token_ids.resize(rows, 0);
  ids_ = Int32Rows(batch_.token_ids, transformer_.device());
  if (transformer_.embedding().needs_positions()) {
    position_of_row_.resize(rows, 0);
    for (const Sequence& sequence : sequences_) {
      for (int64_t row = sequence.rows.begin; row < sequence.rows.end; ++row) {
        position_of_row_[row] = static_cast<int32_t>(row - sequence.rows.begin);
      }
    }
    positions_ = Int32Rows(position_of_row_, transformer_.device());
  }
  x_ = at::empty({rows, transformer_.config().hidden_size}, floats);
  qkv_ = at::empty({rows, 3 * transformer_.heads_width()}, floats);
}

// A stage without pieces for a model without n-grams and words.
void LayeredJob::EnterHash() {
  stage_ = Stage::kHash;
  const Embedding& embedding = transformer_.embedding();
  const int64_t rows = tiles_ * transformer_.tile_rows();
  const int64_t sizes = static_cast<int64_t>(transformer_.config().ngrams.sizes.size());
  if (embedding.has_ngrams()) ngrams_ = at::empty({rows, sizes}, at::TensorOptions(at::kInt));
  if (embedding.has_words()) words_ = at::empty({rows, 1}, at::TensorOptions(at::kInt));
  if (!embedding.has_ngrams() && !embedding.has_words()) return;
  EnterTiles(Stage::kHash, HashFlopsPerRow(transformer_));
}

// Piece i is tile i. Tiles that lie within one sequence are that sequence's, so that they cost
// nothing once it is dropped; those that it shares are nobody's.
void LayeredJob::EnterTiles(Stage stage, double flops_per_row) {
  stage_ = stage;
  pieces_ = PieceList();
  const int64_t height = transformer_.tile_rows();
  const double cost = flops_per_row * static_cast<double>(height);
  int64_t tile = 0;
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    const TokenRange rows = sequences_[s].rows;
    const int64_t first_own = (rows.begin + height - 1) / height;
    const int64_t end_own = rows.end / height;
    if (first_own >= end_own) continue;
    pieces_.AddGroup(/*owner=*/-1, first_own - tile, cost);
    pieces_.AddGroup(s, end_own - first_own, sequences_[s].ended ? 0 : cost);
    tile = end_own;
  }
  pieces_.AddGroup(/*owner=*/-1, tiles_ - tile, cost);
}

void LayeredJob::EnterFold() {
  stage_ = Stage::kFold;
  pieces_ = PieceList();
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    const SequenceOutput& output = sequences_[s].output;
    if (sequences_[s].ended || !output.Folds(layer_)) continue;
    const TokenRange first = output.BlockRows(0);
    const int64_t floats = (first.end - first.begin) * transformer_.config().hidden_size;
    pieces_.AddGroup(s, output.blocks(), kElementFlops * static_cast<double>(floats));
  }
}

void LayeredJob::LeaveFold() {
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    Sequence& sequence = sequences_[s];
    if (sequence.ended || !sequence.output.Folds(layer_)) continue;
    if (absl::Status status = sequence.output.EndLayer(layer_); !status.ok()) {
      Fail(s, std::move(status));
    }
  }
}

void LayeredJob::EnterAttention() {
  stage_ = Stage::kAttention;
  const int64_t width = transformer_.heads_width();
  phases_ = 0;
  for (Sequence& sequence : sequences_) {
    if (sequence.ended) continue;
    const int64_t tokens = sequence.rows.end - sequence.rows.begin;
    const at::Tensor rows = qkv_.narrow(0, sequence.rows.begin, tokens);
    const auto heads = [&](int part) {
      return rows.narrow(1, part * width, width)
          .view({tokens, transformer_.config().num_heads, transformer_.config().head_dim});
    };
    const at::Tensor q = heads(0);
    const Attention& attention = transformer_.attention(layer_);
    const Route route = sequence.routes[layer_];
    sequence.pass = attention.Begin(route, q, heads(1), heads(2), q);
    sequence.pass_weight = AttentionFlopWeight(attention, tokens, route);
    phases_ = std::max(phases_, sequence.pass->phases());
  }
  phase_ = 0;
  EnterAttentionPhase();
}

void LayeredJob::EnterAttentionPhase() {
  pieces_ = PieceList();
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    const AttentionPass* const pass = sequences_[s].pass.get();
    if (pass == nullptr || phase_ >= pass->phases()) continue;
    pieces_.AddGroup(s, pass->Pieces(phase_), pass->PieceFlops(phase_) * sequences_[s].pass_weight);
  }
}

void LayeredJob::LeaveAttention() {
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    std::unique_ptr<AttentionPass> pass = std::move(sequences_[s].pass);
    if (pass == nullptr) continue;
    if (absl::Status status = pass->status(); !status.ok()) Fail(s, std::move(status));
    Free(std::move(pass));
  }
}

void LayeredJob::RunPieces(PieceList::Range range) {
  const int64_t pieces = range.end - range.begin;
  if (pool_ != nullptr && pieces > 1) {
    pool_->ParallelFor(pieces, [&](int64_t piece, int) { RunPiece(range.begin + piece); });
    return;
  }
  for (int64_t number = range.begin; number < range.end; ++number) RunPiece(number);
}

void LayeredJob::RunPiece(int64_t number) {
  if (stage_ != Stage::kAttention && stage_ != Stage::kFold) return RunTile(number);
  const PieceList::Piece piece = pieces_.At(number);
  Sequence& sequence = sequences_[pieces_.owner(piece.group)];
  if (sequence.ended) return;
  if (stage_ == Stage::kAttention) return sequence.pass->Run(phase_, piece.index);
  const TokenRange tokens = sequence.output.BlockRows(piece.index);
  const at::Tensor rows =
      x_.narrow(0, sequence.rows.begin + tokens.begin, tokens.end - tokens.begin).to(at::kCPU);
  sequence.output.Fold(layer_, piece.index,
                       absl::MakeConstSpan(rows.const_data_ptr<float>(), rows.numel()));
}

void LayeredJob::RunTile(int64_t tile) {
  if (TileIsDead(tile)) return;
  const int64_t height = transformer_.tile_rows();
  const int64_t row = tile * height;
  if (stage_ == Stage::kHash) return HashTile(tile);
  const at::Tensor x = x_.narrow(0, row, height);
  if (stage_ == Stage::kEmbed) {
    const auto tile_of = [&](const at::Tensor& rows) {
      return rows.defined() ? rows.narrow(0, row, height) : at::Tensor();
    };
    return transformer_.embedding().Apply({.ids = tile_of(ids_),
                                           .positions = tile_of(positions_),
                                           .ngrams = tile_of(ngrams_),
                                           .words = tile_of(words_)},
                                          x);
  }
  const TransformerLayer& layer = transformer_.layer(layer_);
  const at::Tensor qkv = qkv_.narrow(0, row, height);
  if (stage_ == Stage::kQkv) return layer.ProjectQkv(x, qkv);
  layer.Finish(qkv.narrow(1, 0, transformer_.heads_width()), x);
  if (layer_ + 1 == transformer_.layers()) transformer_.ApplyFinalNorm(x);
}

void LayeredJob::HashTile(int64_t tile) {
  const int64_t height = transformer_.tile_rows();
  const TokenRange rows = {tile * height, (tile + 1) * height};
  const auto tile_of = [&](at::Tensor& found) {
    const int64_t columns = found.size(1);
    return absl::MakeSpan(found.data_ptr<int32_t>() + rows.begin * columns,
                          static_cast<size_t>(height * columns));
  };
  if (ngrams_.defined()) {
    FillNgramBuckets(transformer_.config().ngrams, batch_.token_ids, batch_.offsets, rows,
                     tile_of(ngrams_));
  }
  if (words_.defined()) {
    FillWordRows(transformer_.embedding().word_keys(), batch_.token_ids, batch_.offsets, rows,
                 tile_of(words_));
  }
}

bool LayeredJob::TileIsDead(int64_t tile) const {
  const int64_t begin = tile * transformer_.tile_rows();
  const int64_t end = std::min(begin + transformer_.tile_rows(), batch_.tokens());
  const auto first = std::upper_bound(batch_.offsets.begin(), batch_.offsets.end(), begin) - 1;
  for (auto s = first - batch_.offsets.begin(); s < batch_.sequences(); ++s) {
    if (sequences_[s].rows.begin >= end) break;
    if (!sequences_[s].ended) return false;
  }
  return true;
}

SequenceReport LayeredJob::Report(const Sequence& sequence) const {
  const int64_t tokens = sequence.rows.end - sequence.rows.begin;
  SequenceReport report = {.route = MainRoute(transformer_, tokens, sequence.routes)};
  for (int layer = 0; layer < static_cast<int>(sequence.routes.size()); ++layer) {
    const double bound = transformer_.attention(layer).ErrorBound(tokens, sequence.routes[layer]);
    report.error_bound = std::max(report.error_bound, bound);
  }
  return report;
}

EncodeJob::State LayeredJob::Emit() {
  int64_t bytes = kEmitBytesPerStep;
  while (live_ > 0) {
    Sequence& sequence = sequences_[emitting_];
    if (sequence.ended) {
      ++emitting_;
      continue;
    }
    if (bytes <= 0) return EncodeJob::State::kMore;
    const auto last_rows = [&](absl::Span<const int64_t> tokens) {
      return LastRows(sequence, tokens);
    };
    const absl::StatusOr<RowEmitter::Result> result =
        emitter_.Next(emitting_, sequence.output, last_rows);
    if (!result.ok()) {
      Fail(emitting_, result.status());
    } else if (*result == RowEmitter::Result::kRefused) {
      return EncodeJob::State::kBlocked;
    } else if (*result == RowEmitter::Result::kAll) {
      sink_->Finish(emitting_, Report(sequence));
      End(emitting_);
    }
    bytes -= emitter_.block_bytes() + kEmitBytesPerCall;
    flops_done_ += kElementFlops / sizeof(float) * static_cast<double>(emitter_.block_bytes());
  }
  return Done();
}

std::vector<const float*> LayeredJob::LastRows(const Sequence& sequence,
                                               absl::Span<const int64_t> tokens) {
  std::vector<const float*> rows(tokens.size());
  const int64_t hidden = transformer_.config().hidden_size;
  if (x_.is_cpu()) {
    const float* const first = x_.const_data_ptr<float>() + sequence.rows.begin * hidden;
    for (size_t i = 0; i < tokens.size(); ++i) rows[i] = first + tokens[i] * hidden;
    return rows;
  }
  const at::Tensor index = at::empty({static_cast<int64_t>(tokens.size())}, at::kLong);
  for (size_t i = 0; i < tokens.size(); ++i) {
    index.data_ptr<int64_t>()[i] = sequence.rows.begin + tokens[i];
  }
  emitted_rows_ = at::index_select(x_, 0, index.to(x_.device())).to(at::kCPU);
  for (size_t i = 0; i < tokens.size(); ++i) {
    rows[i] = emitted_rows_.const_data_ptr<float>() + i * hidden;
  }
  return rows;
}

void LayeredJob::Fail(int sequence, absl::Status status) {
  sink_->Fail(sequence, std::move(status));
  End(sequence);
}

void LayeredJob::Drop(int sequence) {
  if (!sequences_[sequence].ended) End(sequence);
}

void LayeredJob::End(int sequence) {
  sequences_[sequence].ended = true;
  Free(std::move(sequences_[sequence].pass));
  sequences_[sequence].output.Release();
  pieces_.GiveUp(sequence);
  --live_;
}

EncodeJob::State LayeredJob::Done() {
  Free(x_);
  Free(qkv_);
  Free(ngrams_);
  Free(words_);
  ids_.reset();
  positions_.reset();
  emitted_rows_.reset();
  emitter_.Release();
  batch_.token_ids = std::vector<int32_t>();
  position_of_row_ = std::vector<int32_t>();
  flops_done_ = flops_total_;
  return EncodeJob::State::kDone;
}

LayeredJob::~LayeredJob() {
  Free(x_);
  Free(qkv_);
  Free(ngrams_);
  Free(words_);
  for (Sequence& sequence : sequences_) Free(std::move(sequence.pass));
}

void LayeredJob::Free(at::Tensor& tensor) {
  // On CUDA memory goes back to LibTorch's cache, at once and for nothing.
  if (tensor.defined() && tensor.is_cpu() && Bytes(tensor) >= kLargeBytes) {
    disposer_.Dispose(std::make_shared<at::Tensor>(std::move(tensor)));
  }
  tensor.reset();
}

void LayeredJob::Free(std::unique_ptr<AttentionPass> pass) {
  if (pass != nullptr && pool_ != nullptr && pass->ResidentBytes() >= kLargeBytes) {
    disposer_.Dispose(std::shared_ptr<AttentionPass>(std::move(pass)));
  }
}

int64_t LayeredJob::ResidentBytes() const {
  int64_t bytes = Bytes(x_) + Bytes(qkv_) + Bytes(ngrams_) + Bytes(words_) + Bytes(emitted_rows_) +
                  emitter_.ResidentBytes() +
                  static_cast<int64_t>((batch_.token_ids.capacity() + position_of_row_.capacity()) *
                                       sizeof(int32_t));
  if (transformer_.device().is_cuda()) bytes += Bytes(ids_) + Bytes(positions_);
  for (const Sequence& sequence : sequences_) {
    bytes += sequence.output.ResidentBytes();
    if (sequence.pass != nullptr) bytes += sequence.pass->ResidentBytes();
  }
  return bytes;
}

double LayeredJob::Progress() const {
  return std::min(1.0, flops_done_ / std::max(flops_total_, 1.0));
}

}  // namespace longwave
