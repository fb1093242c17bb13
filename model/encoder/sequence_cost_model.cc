#include "model/encoder/sequence_cost_model.h"

#include <algorithm>
#include <cmath>

#include "model/encoder/sequence_output.h"

namespace longwave {
namespace {

constexpr int64_t kBlockBytes = 1 << 20;
// As LayeredJob sends: blocks of 1 MiB, 8 MiB a Step.
constexpr double kStepBytes = 8 * kBlockBytes;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

SequenceCostModel::SequenceCostModel(const Transformer* transformer, int threads)
    : transformer_(*transformer), threads_(threads) {}

double SequenceCostModel::RouteRate(Route route) const {
  const double measured = rates_.route_flops[static_cast<size_t>(route)];
  return measured > 0 ? measured : rates_.dense_flops / RouteFlopWeight(route);
}

double SequenceCostModel::DenseFlops(int64_t tokens, int layers) const {
  double per_row = HashFlopsPerRow(transformer_) + EmbedFlopsPerRow(transformer_);
  for (int layer = 0; layer < layers; ++layer) {
    per_row +=
        transformer_.layer(layer).QkvFlopsPerRow() + transformer_.layer(layer).FinishFlopsPerRow();
  }
  return per_row * static_cast<double>(RoundUp(tokens, transformer_.tile_rows()));
}

double SequenceCostModel::AttentionFlops(int64_t tokens, Route route) const {
  double flops = 0;
  for (int layer = 0; layer < transformer_.layers(); ++layer) {
    flops += transformer_.attention(layer).Cost(tokens, route).flops;
  }
  return flops;
}

double SequenceCostModel::LargestPieceSeconds(int64_t tokens, Route route) const {
  double seconds = 0;
  for (int layer = 0; layer < transformer_.layers(); ++layer) {
    for (const RouteShare& share : transformer_.attention(layer).Shares(tokens, route)) {
      // A piece runs on one thread; rates are those of all of them.
      seconds =
          std::max(seconds, share.cost.largest_piece_flops / RouteRate(share.route) * threads_);
    }
  }
  return seconds;
}

CostPrediction SequenceCostModel::Predict(int64_t tokens, const OutputSpec& output,
                                          Route route) const {
  const int layers = SequenceOutput::DeepestLayer(output, transformer_.layers());
  const double sent = SentBytes(tokens, output);
  const double fold =
      kElementFlops *
      static_cast<double>(transformer_.config().hidden_size *
                          SequenceOutput::FoldedRows(output, tokens, transformer_.layers()));
  // Whole rounds: with two threads three tiles take as long as four.
  const double dense = DenseFlops(RoundUp(tokens, transformer_.tile_rows() * threads_), layers);
  const double emit = kElementFlops * sent / sizeof(float);
  double seconds = rates_.job_seconds + (dense + fold + emit) / rates_.dense_flops;
  double slices = (DenseFlops(tokens, layers) + fold) / kSliceFlops;
  for (int layer = 0; layer < layers; ++layer) {
    for (const RouteShare& share : transformer_.attention(layer).Shares(tokens, route)) {
      seconds += share.cost.flops / RouteRate(share.route);
      const double weight = RouteFlopWeight(share.route);
      // A piece that is longer than a slice's share is a slice of its own.
      slices += share.cost.flops * weight /
                std::max(kSliceFlops, share.cost.largest_piece_flops * weight);
    }
  }
  const LayerRoutes routes(transformer_.layers(), route);
  return CostPrediction{
      .seconds = seconds,
      .peak_bytes = PeakBytes(tokens, output, route),
      .slices = static_cast<int64_t>(std::ceil(slices) + std::ceil(sent / kStepBytes)),
      .route = MainRoute(transformer_, tokens, routes)};
}

double SequenceCostModel::SentBytes(int64_t tokens, const OutputSpec& output) const {
  const int64_t kept =
      output.truncate_dim > 0 ? output.truncate_dim : transformer_.config().hidden_size;
  const int64_t vectors = std::max<int64_t>(1, output.layers.size());
  return static_cast<double>(output.RowCount(tokens) * kept * vectors) * sizeof(float);
}

// The largest of three moments: rows of n-grams and words waiting for the embedding (q, k and v
// have their memory already), attention at work, and rows being sent, when q, k and v are gone.
int64_t SequenceCostModel::PeakBytes(int64_t tokens, const OutputSpec& output, Route route) const {
  const ModelConfig& config = transformer_.config();
  const int64_t rows = RoundUp(tokens, transformer_.tile_rows());
  const int64_t ints_per_row = transformer_.embedding().needs_positions() ? 2 : 1;
  int64_t attention = 0;
  for (int layer = 0; layer < transformer_.layers(); ++layer) {
    attention = std::max(attention, transformer_.attention(layer).Cost(tokens, route).bytes);
  }
  const int64_t columns = static_cast<int64_t>(config.ngrams.sizes.size()) +
                          (transformer_.embedding().has_words() ? 1 : 0);
  const int64_t found = rows * columns * static_cast<int64_t>(sizeof(int32_t));
  const int64_t qkv = rows * 3 * transformer_.heads_width() * sizeof(float);
  const int64_t sending = std::min<int64_t>(kBlockBytes, SentBytes(tokens, output));
  return rows * static_cast<int64_t>(config.hidden_size * sizeof(float) +
                                     ints_per_row * sizeof(int32_t)) +
         SequenceOutput::PredictBytes(output, tokens, config.hidden_size,
                                      static_cast<int>(config.num_layers)) +
         std::max(qkv + std::max(found, attention), sending);
}

}  // namespace longwave
