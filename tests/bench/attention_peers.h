#ifndef LONGWAVE_TESTS_BENCH_ATTENTION_PEERS_H_
#define LONGWAVE_TESTS_BENCH_ATTENTION_PEERS_H_

#include <ATen/core/TensorBase.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace longwave {

// What the peers get: one sequence, all heads, on the CPU in fp32.
struct PeerInput {
  at::TensorBase q;  // [n, H, d], raw
  at::TensorBase k;
  at::TensorBase v;
  std::vector<float> projection;          // [H, m, d]
  std::vector<std::vector<double>> bias;  // per head, offsets -(n-1) .. n-1; -inf: masked
  int64_t features = 0;
};

// A peer computes [n, H, d] with LibTorch on as many threads as at::set_num_threads allows. What
// could be prepared once for many calls (layout, normalised q and k, mask, spectrum of c) is, and
// not in `run`: a peer is at its best.
struct Peer {
  std::string name;
  std::function<at::TensorBase()> run;
};

// LibTorch's scaled_dot_product_attention on the normalised q and k with scale 1 and no bias: the
// most that softmax attention can reach.
std::unique_ptr<Peer> MakeSdpaPeer(const PeerInput& input);

// The same with the bias as an additive mask [H, n, n]: what a softmax encoder with relative
// positions would run. Null if the mask does not fit `max_bytes`; `why` then says so.
std::unique_ptr<Peer> MakeSdpaBiasPeer(const PeerInput& input, int64_t max_bytes, std::string* why);

// softmax(q k^T + bias) v operation by operation. Null if bias and scores do not fit.
std::unique_ptr<Peer> MakeUnfusedPeer(const PeerInput& input, int64_t max_bytes, std::string* why);

// The paper's Algorithm 1 as it stands (arXiv 2106.12566): the m (d + 1) channels of a head
// materialised and transformed at length 2^ceil(log2(2n - 1)), head by head; in as many groups of
// features as make a head fit `max_bytes`. Null if one feature does not fit.
std::unique_ptr<Peer> MakeTextbookFftPeer(const PeerInput& input, int64_t max_bytes,
                                          std::string* why);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_ATTENTION_PEERS_H_
