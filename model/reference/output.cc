#include "model/reference/output.h"

#include <algorithm>
#include <cmath>

namespace longwave {
namespace {

// Row by row, what the pooling makes of one layer's states before truncation: [rows][width].
using Vectors = std::vector<std::vector<double>>;

std::vector<double> Row(const HiddenStates& states, int64_t width, int64_t row) {
  return std::vector<double>(states.begin() + row * width, states.begin() + (row + 1) * width);
}

std::vector<double> Mean(const HiddenStates& states, int64_t width, TokenRange range) {
  std::vector<double> mean(width, 0);
  for (int64_t i = range.begin; i < range.end; ++i) {
    for (int64_t c = 0; c < width; ++c) mean[c] += states[i * width + c];
  }
  for (double& value : mean) value /= static_cast<double>(range.end - range.begin);
  return mean;
}

std::vector<double> Max(const HiddenStates& states, int64_t width, int64_t n) {
  std::vector<double> highest = Row(states, width, 0);
  for (int64_t i = 1; i < n; ++i) {
    for (int64_t c = 0; c < width; ++c) {
      highest[c] = std::max(highest[c], states[i * width + c]);
    }
  }
  return highest;
}

Vectors Pool(const HiddenStates& states, int64_t width, const OutputSpec& output) {
  const int64_t n = states.size() / width;
  Vectors vectors;
  switch (output.pooling) {
    case Pooling::kMean:
      return {Mean(states, width, {0, n})};
    case Pooling::kFirst:
      return {Row(states, width, 0)};
    case Pooling::kLast:
      return {Row(states, width, n - 1)};
    case Pooling::kMax:
      return {Max(states, width, n)};
    case Pooling::kSpans:
      for (const TokenRange& span : output.spans) vectors.push_back(Mean(states, width, span));
      return vectors;
    case Pooling::kRows: {
      std::vector<TokenRange> ranges = output.row_ranges;
      if (ranges.empty()) ranges.push_back({0, n});
      for (const TokenRange& range : ranges) {
        for (int64_t i = range.begin; i < range.end; i += output.row_stride) {
          vectors.push_back(Row(states, width, i));
        }
      }
      return vectors;
    }
  }
  return vectors;
}

void Normalize(std::vector<double>& vector) {
  double squares = 0;
  for (const double value : vector) squares += value * value;
  if (squares == 0) return;
  for (double& value : vector) value /= std::sqrt(squares);
}

}  // namespace

std::vector<double> ReferenceOutput(const ModelConfig& config, const OutputSpec& output,
                                    const std::vector<HiddenStates>& states) {
  std::vector<int> layers = output.layers;
  if (layers.empty()) layers.push_back(static_cast<int>(config.num_layers));
  std::vector<Vectors> per_layer;
  for (const int layer : layers) {
    per_layer.push_back(Pool(states[layer], config.hidden_size, output));
    for (std::vector<double>& vector : per_layer.back()) {
      if (output.truncate_dim > 0) vector.resize(output.truncate_dim);
      if (output.normalize) Normalize(vector);
    }
  }
  std::vector<double> rows;
  for (size_t row = 0; row < per_layer.front().size(); ++row) {
    for (const Vectors& vectors : per_layer) {
      rows.insert(rows.end(), vectors[row].begin(), vectors[row].end());
    }
  }
  return rows;
}

}  // namespace longwave
