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

// A peer computes [n, H, d] with LibTorch on `threads` threads.
struct Peer {
  std::string name;
  std::function<at::TensorBase()> run;
};

// LibTorch's scaled_dot_product_attention on the normalised q and k with scale 1 and the same bias
// as an additive mask [H, n, n]: what a softmax encoder would run. Null if the mask does not fit
// `max_bytes`; `why` then says so.
std::unique_ptr<Peer> MakeSdpaPeer(const PeerInput& input, int64_t max_bytes, std::string* why);

// The paper's Algorithm 1 as it stands (arXiv 2106.12566): all m (d + 1) channels of a head
// materialised and transformed at length 2^ceil(log2(2n - 1)), head by head. Null if one head does
// not fit `max_bytes`.
std::unique_ptr<Peer> MakeTextbookFftPeer(const PeerInput& input, int64_t max_bytes,
                                          std::string* why);

}  // namespace longwave

#endif  // LONGWAVE_TESTS_BENCH_ATTENTION_PEERS_H_
