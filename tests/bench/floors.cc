#include "tests/bench/floors.h"

#include <cmath>

namespace longwave {

double FeatureFlops(const HeadShape& shape) {
  return 4.0 * static_cast<double>(shape.head_dim * shape.features);
}

double ChunkwiseFlops(const HeadShape& shape, int64_t band, int64_t block) {
  const int64_t tiles = 2 * ((band + block - 1) / block) + 1;
  const double columns = static_cast<double>(shape.columns());
  const double m = static_cast<double>(shape.features);
  return 2.0 * static_cast<double>(tiles * block) * (m + columns) + 4.0 * m * columns +
         FeatureFlops(shape);
}

double TilesFlops(const HeadShape& shape, int64_t n) {
  return 2.0 * static_cast<double>(n) * static_cast<double>(shape.features + shape.columns()) +
         FeatureFlops(shape);
}

double SoftmaxFlops(int64_t head_dim, int64_t n) {
  return 4.0 * static_cast<double>(n) * static_cast<double>(head_dim);
}

double FftFlops(const HeadShape& shape, int64_t n) {
  const double channels = static_cast<double>(shape.features * shape.columns());
  return channels * (10.0 * std::log2(2.0 * static_cast<double>(n)) + 8.0) + FeatureFlops(shape);
}

double TextbookFftBytes(const HeadShape& shape, int64_t n) {
  return 28.0 * static_cast<double>(shape.features * shape.columns()) * static_cast<double>(n);
}

double DenseFlops(const EncoderShape& shape) {
  const double hidden = static_cast<double>(shape.hidden());
  const double intermediate = static_cast<double>(shape.intermediate);
  return static_cast<double>(shape.layers) * 2.0 *
         (4.0 * hidden * hidden + 2.0 * hidden * intermediate);
}

double EncoderFlops(const EncoderShape& shape, int64_t band) {
  return DenseFlops(shape) +
         static_cast<double>(shape.layers * shape.heads) * ChunkwiseFlops(shape.head, band);
}

}  // namespace longwave
