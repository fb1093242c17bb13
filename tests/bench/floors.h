#ifndef LONGWAVE_TESTS_BENCH_FLOORS_H_
#define LONGWAVE_TESTS_BENCH_FLOORS_H_

#include <cstdint>

namespace longwave {

// Least floating-point operations of each way to compute the attention of one token in one head; a
// multiply-add counts as two. A floor in seconds is these over the rate of a large matrix product,
// so that no exponential, no copy and no partly filled block is in it.
struct HeadShape {
  int64_t head_dim = 64;  // d
  int64_t features = 64;  // m

  // d1: the value columns and the column of ones that becomes the denominator.
  int64_t columns() const { return head_dim + 1; }
};

// Rows of a block in the floor of chunkwise attention, whatever the kernels take: at band 128 its
// smallest power of two with the fewest operations.
inline constexpr int64_t kFloorBlock = 64;

// W x of a query and of a key: 2 * 2 d m. In every floor below but that of softmax.
double FeatureFlops(const HeadShape& shape);

// 2 (2 ceil(K / B) + 1) B (m + d1) of the band's tiles, 4 m d1 to add to a block's state and to
// read the scanned ones, and the features. K: `band`, B: `block`.
double ChunkwiseFlops(const HeadShape& shape, int64_t band, int64_t block = kFloorBlock);

// 2 n (m + d1) and the features.
double TilesFlops(const HeadShape& shape, int64_t n);

// softmax(q k^T) v: 4 n d.
double SoftmaxFlops(int64_t head_dim, int64_t n);

// m d1 channels of 10 log2(2n) + 8 and the features.
double FftFlops(const HeadShape& shape, int64_t n);

// What the textbook FFT of one head holds at its peak: 28 bytes for each of n tokens in m d1
// channels (the channels, two spectra and the product in time, in fp32).
double TextbookFftBytes(const HeadShape& shape, int64_t n);

struct EncoderShape {
  int64_t layers = 6;
  int64_t heads = 12;
  HeadShape head = {32, 32};
  int64_t intermediate = 1536;

  int64_t hidden() const { return heads * head.head_dim; }
};

// Projections and feed-forward network of all layers, one token: 2 (4 D^2 + 2 D F) a layer.
double DenseFlops(const EncoderShape& shape);
// The whole encoder with chunkwise attention, one token.
double EncoderFlops(const EncoderShape& shape, int64_t band);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_FLOORS_H_
