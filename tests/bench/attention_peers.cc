#include "tests/bench/attention_peers.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

at::Tensor Normalised(const at::TensorBase& x) {
  const at::Tensor t(x);
  return t / t.norm(2, -1, true).clamp_min(1e-30);
}

at::Tensor BiasRow(const std::vector<double>& bias) {
  return at::from_blob(const_cast<double*>(bias.data()), {static_cast<int64_t>(bias.size())},
                       at::kDouble)
      .to(at::kFloat);
}

std::unique_ptr<Peer> TooLarge(int64_t bytes, int64_t max_bytes, std::string* why) {
  *why = absl::StrCat("needs ", bytes >> 20, " MiB, limit ", max_bytes >> 20, " MiB");
  return nullptr;
}

// phi(x) = exp(W x - 1/2) / sqrt(m) of unit rows, Eq. 5.
at::Tensor Features(const at::Tensor& x, const at::Tensor& projection) {
  const double m = static_cast<double>(projection.size(0));
  return at::exp(at::matmul(x, projection.t()) - 0.5) / std::sqrt(m);
}

// Algorithm 1 for one head. q, k, v: [n, d]; bias: offsets -(n-1) .. n-1.
at::Tensor TextbookHead(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& projection, const at::Tensor& bias) {
  const int64_t n = q.size(0);
  const int64_t length = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(2 * n - 1)));
  const at::Tensor phi_q = Features(q, projection);
  const at::Tensor phi_k = Features(k, projection);
  const at::Tensor ones = at::ones({n, 1}, v.options());
  const at::Tensor values = at::cat({v, ones}, 1);
  // A1 | A2 of the paper, time innermost: [m, d + 1, n].
  const at::Tensor channels = phi_k.t().unsqueeze(1) * values.t().unsqueeze(0);
  // (C A)_i = sum_j c_{j-i} A_j is a convolution with h_t = c_{-t}.
  const at::Tensor c = at::exp(bias - bias.max());
  const at::Tensor reversed = c.flip(0);  // index t + n - 1 holds h_t
  at::Tensor kernel = at::zeros({length}, v.options());
  kernel.slice(0, 0, n).copy_(reversed.slice(0, n - 1, 2 * n - 1));
  if (n > 1) kernel.slice(0, length - (n - 1), length).copy_(reversed.slice(0, 0, n - 1));
  const at::Tensor product =
      at::fft_irfft(at::fft_rfft(channels, length) * at::fft_rfft(kernel, length), length)
          .slice(-1, 0, n);
  const at::Tensor sums = (phi_q.t().unsqueeze(1) * product).sum(0).t();  // [n, d + 1]
  const int64_t d = v.size(1);
  return sums.slice(1, 0, d) / sums.slice(1, d, d + 1);
}

}  // namespace

std::unique_ptr<Peer> MakeSdpaPeer(const PeerInput& input, int64_t max_bytes, std::string* why) {
  const at::Tensor v(input.v);
  const int64_t n = v.size(0);
  const int64_t heads = v.size(1);
  const int64_t bytes = heads * n * n * 4;
  if (bytes > max_bytes) return TooLarge(bytes, max_bytes, why);
  const at::Tensor mask = at::empty({1, heads, n, n}, v.options());
  for (int64_t h = 0; h < heads; ++h) {
    // Row i is the window of offsets -i .. n-1-i.
    const at::Tensor windows = BiasRow(input.bias[h]).unfold(0, n, 1).flip(0);
    mask[0][h].copy_(windows);
  }
  const at::Tensor q = Normalised(input.q).transpose(0, 1).unsqueeze(0).contiguous();
  const at::Tensor k = Normalised(input.k).transpose(0, 1).unsqueeze(0).contiguous();
  const at::Tensor value = v.transpose(0, 1).unsqueeze(0).contiguous();
  auto peer = std::make_unique<Peer>();
  peer->name = "sdpa_bias";
  peer->run = [=]() -> at::TensorBase {
    return at::scaled_dot_product_attention(q, k, value, mask, 0.0, false, 1.0)
        .squeeze(0)
        .transpose(0, 1);
  };
  return peer;
}

std::unique_ptr<Peer> MakeTextbookFftPeer(const PeerInput& input, int64_t max_bytes,
                                          std::string* why) {
  const at::Tensor v(input.v);
  const int64_t n = v.size(0);
  const int64_t heads = v.size(1);
  const int64_t d = v.size(2);
  const int64_t m = input.features;
  // The channels, their spectrum twice (before and after the product) and the product in time.
  const int64_t bytes = m * (d + 1) * n * 4 * 14;
  if (bytes > max_bytes) return TooLarge(bytes, max_bytes, why);
  const at::Tensor q = Normalised(input.q);
  const at::Tensor k = Normalised(input.k);
  const at::Tensor projection =
      at::tensor(at::ArrayRef<float>(input.projection), at::kFloat).reshape({heads, m, d});
  std::vector<at::Tensor> bias;
  for (const std::vector<double>& row : input.bias) bias.push_back(BiasRow(row));
  auto peer = std::make_unique<Peer>();
  peer->name = "textbook_fft";
  peer->run = [=]() -> at::TensorBase {
    std::vector<at::Tensor> outputs;
    for (int64_t h = 0; h < heads; ++h) {
      outputs.push_back(
          TextbookHead(q.select(1, h), k.select(1, h), v.select(1, h), projection[h], bias[h]));
    }
    return at::stack(outputs, 1);
  };
  return peer;
}

}  // namespace longwave
