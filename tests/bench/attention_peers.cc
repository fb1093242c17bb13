#include "tests/bench/attention_peers.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tests/bench/floors.h"

namespace longwave {
namespace {

at::Tensor Normalised(const at::TensorBase& x) {
  const at::Tensor t(x);
  return t / t.norm(2, -1, true).clamp_min(1e-30);
}

// [n, H, d] -> [1, H, n, d].
at::Tensor ByHead(const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0).contiguous(); }

// [1, H, n, d] -> [n, H, d].
at::TensorBase ByToken(const at::Tensor& x) { return x.squeeze(0).transpose(0, 1); }

at::Tensor BiasRow(const std::vector<double>& bias) {
  return at::from_blob(const_cast<double*>(bias.data()), {static_cast<int64_t>(bias.size())},
                       at::kDouble)
      .to(at::kFloat);
}

std::unique_ptr<Peer> TooLarge(int64_t bytes, int64_t max_bytes, std::string* why) {
  *why = absl::StrCat("needs ", bytes >> 20, " MiB, limit ", max_bytes >> 20, " MiB");
  return nullptr;
}

// [1, H, n, n]: row i is the window of offsets -i .. n-1-i.
at::Tensor BiasMask(const PeerInput& input) {
  const at::Tensor v(input.v);
  const int64_t n = v.size(0);
  const int64_t heads = v.size(1);
  at::Tensor mask = at::empty({1, heads, n, n}, v.options());
  for (int64_t h = 0; h < heads; ++h) {
    mask[0][h].copy_(BiasRow(input.bias[h]).unfold(0, n, 1).flip(0));
  }
  return mask;
}

int64_t MaskBytes(const PeerInput& input) {
  return input.v.size(1) * input.v.size(0) * input.v.size(0) * 4;
}

// phi(x) = exp(W x - 1/2) / sqrt(m) of unit rows, Eq. 5.
at::Tensor Features(const at::Tensor& x, const at::Tensor& projection) {
  const double m = static_cast<double>(projection.size(0));
  return at::matmul(x, projection.t()).sub_(0.5).exp_().div_(std::sqrt(m));
}

// One head of Algorithm 1.
struct TextbookHead {
  at::Tensor q, k;        // [n, d], of unit length
  at::Tensor values;      // [d + 1, n], the last row ones
  at::Tensor projection;  // [m, d]
  at::Tensor spectrum;    // of h, [length / 2 + 1]
  int64_t length = 0;
};

// (C A)_i = sum_j c_{j-i} A_j is a convolution with h_t = c_{-t}.
at::Tensor Spectrum(const std::vector<double>& bias_values, int64_t n, int64_t length) {
  const at::Tensor bias = BiasRow(bias_values);
  const at::Tensor reversed = at::exp(bias - bias.max()).flip(0);  // index t + n - 1 holds h_t
  at::Tensor kernel = at::zeros({length}, bias.options());
  kernel.slice(0, 0, n).copy_(reversed.slice(0, n - 1, 2 * n - 1));
  if (n > 1) kernel.slice(0, length - (n - 1), length).copy_(reversed.slice(0, 0, n - 1));
  return at::fft_rfft(kernel, length);
}

// [n, d]. `group` features at a time.
at::Tensor RunTextbook(const TextbookHead& head, int64_t group) {
  const int64_t n = head.q.size(0);
  const int64_t d = head.values.size(0) - 1;
  const int64_t m = head.projection.size(0);
  const at::Tensor phi_q = Features(head.q, head.projection).t();
  const at::Tensor phi_k = Features(head.k, head.projection).t();
  at::Tensor sums = at::zeros({d + 1, n}, head.values.options());
  for (int64_t first = 0; first < m; first += group) {
    const int64_t end = std::min(first + group, m);
    // A1 | A2 of the paper, time innermost: [features, d + 1, n].
    at::Tensor channels = phi_k.slice(0, first, end).unsqueeze(1) * head.values.unsqueeze(0);
    at::Tensor spectra = at::fft_rfft(channels, head.length);
    channels.reset();
    spectra.mul_(head.spectrum);
    at::Tensor product = at::fft_irfft(spectra, head.length).slice(-1, 0, n);
    spectra.reset();
    product.mul_(phi_q.slice(0, first, end).unsqueeze(1));
    sums.add_(product.sum(0));
  }
  return (sums.slice(0, 0, d) / sums.slice(0, d, d + 1)).t();
}

}  // namespace

std::unique_ptr<Peer> MakeSdpaPeer(const PeerInput& input) {
  const at::Tensor q = ByHead(Normalised(input.q));
  const at::Tensor k = ByHead(Normalised(input.k));
  const at::Tensor v = ByHead(at::Tensor(input.v));
  return std::make_unique<Peer>(Peer{"sdpa", [=] {
                                       return ByToken(at::scaled_dot_product_attention(
                                           q, k, v, std::nullopt, 0.0, false, 1.0));
                                     }});
}

std::unique_ptr<Peer> MakeSdpaBiasPeer(const PeerInput& input, int64_t max_bytes,
                                       std::string* why) {
  if (MaskBytes(input) > max_bytes) return TooLarge(MaskBytes(input), max_bytes, why);
  const at::Tensor mask = BiasMask(input);
  const at::Tensor q = ByHead(Normalised(input.q));
  const at::Tensor k = ByHead(Normalised(input.k));
  const at::Tensor v = ByHead(at::Tensor(input.v));
  return std::make_unique<Peer>(Peer{
      "sdpa_bias",
      [=] { return ByToken(at::scaled_dot_product_attention(q, k, v, mask, 0.0, false, 1.0)); }});
}

std::unique_ptr<Peer> MakeUnfusedPeer(const PeerInput& input, int64_t max_bytes, std::string* why) {
  // Bias, scores and probabilities.
  if (3 * MaskBytes(input) > max_bytes) return TooLarge(3 * MaskBytes(input), max_bytes, why);
  const at::Tensor mask = BiasMask(input).squeeze(0);
  const at::Tensor q = ByHead(Normalised(input.q)).squeeze(0);
  const at::Tensor k = ByHead(Normalised(input.k)).squeeze(0).transpose(1, 2);
  const at::Tensor v = ByHead(at::Tensor(input.v)).squeeze(0);
  return std::make_unique<Peer>(Peer{"unfused_softmax", [=]() -> at::TensorBase {
                                       const at::Tensor scores = at::baddbmm(mask, q, k);
                                       return at::bmm(at::softmax(scores, -1), v).transpose(0, 1);
                                     }});
}

std::unique_ptr<Peer> MakeTextbookFftPeer(const PeerInput& input, int64_t max_bytes,
                                          std::string* why) {
  const at::Tensor v(input.v);
  const int64_t n = v.size(0);
  const int64_t heads = v.size(1);
  const int64_t d = v.size(2);
  const int64_t m = input.features;
  const int64_t feature_bytes = static_cast<int64_t>(TextbookFftBytes({d, 1}, n));
  if (feature_bytes > max_bytes) return TooLarge(feature_bytes, max_bytes, why);
  const int64_t group = std::min(m, max_bytes / feature_bytes);
  const at::Tensor q = Normalised(input.q);
  const at::Tensor k = Normalised(input.k);
  const at::Tensor ones = at::ones({1, n}, v.options());
  const at::Tensor projection =
      at::tensor(at::ArrayRef<float>(input.projection), at::kFloat).reshape({heads, m, d});
  const int64_t length = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * n - 1)));
  std::vector<TextbookHead> prepared;
  for (int64_t h = 0; h < heads; ++h) {
    prepared.push_back({.q = q.select(1, h).contiguous(),
                        .k = k.select(1, h).contiguous(),
                        .values = at::cat({v.select(1, h).t(), ones}),
                        .projection = projection[h],
                        .spectrum = Spectrum(input.bias[h], n, length),
                        .length = length});
  }
  return std::make_unique<Peer>(Peer{"textbook_fft", [prepared, group]() -> at::TensorBase {
                                       std::vector<at::Tensor> outputs;
                                       for (const TextbookHead& head : prepared) {
                                         outputs.push_back(RunTextbook(head, group));
                                       }
                                       return at::stack(outputs, 1);
                                     }});
}

}  // namespace longwave
