#include "model/torch/csrc/head_backward.h"

#include <algorithm>
#include <cstdint>

#include "model/torch/csrc/key_window.h"

namespace longwave::torch_ops {
namespace {

constexpr int64_t kB = cpu::kRowBlock;
constexpr int64_t kGroup = cpu::kKeyGroup;

// Blocks that a window moves by at once, so that moving it costs little beside them.
constexpr int64_t kWindowBlocks = 12;

cpu::StridedRows From(cpu::StridedRows rows, int64_t first) {
  return {rows.data + first * rows.stride, rows.stride};
}

class HeadBackward {
 public:
  explicit HeadBackward(const HeadProblem& problem)
      : p_(problem),
        kernels_(*problem.kernels),
        shape_{problem.features.features, problem.features.head_dim},
        by_values_{problem.features.head_dim + 1, problem.features.features},
        reach_(problem.band->reach),
        near_reach_(static_cast<int64_t>(problem.near_grad->size()) / 2),
        keys_(shape_, Capacity()) {
    SetMemory();
  }

  void Run() {
    WalkForwards();
    if (far_) WalkBackwards();
  }

 private:
  enum Side { kBefore, kAfter };

  int64_t phi_columns() const { return cpu::PaddedColumns(shape_.features); }
  int64_t grad_columns() const { return cpu::PaddedColumns(shape_.head_dim + 1); }
  int64_t out_columns() const { return cpu::PaddedColumns(shape_.head_dim); }
  int64_t last_block() const { return (p_.tokens - 1) / kB * kB; }
  int64_t Capacity() const {
    // The forward walk holds keys from s - reach to s + kB + reach, the backward one kB more.
    const int64_t all = cpu::RoundUp(p_.tokens, kB) + 2 * kB;
    return std::min(all, cpu::RoundUp(2 * reach_, kGroup) + kB * (2 + kWindowBlocks));
  }

  void SetMemory();
  void FormQueries(int64_t block, int64_t rows);
  void EnterKeys(int64_t begin, int64_t end);
  void LeaveKeys(int64_t begin, int64_t end);
  void AddTile(int64_t block, int64_t rows);
  void AddFarKeys(int64_t rows, Side side);
  void AddFarQueries(int64_t begin, int64_t end, const float* factors);
  void AddKeysToState(int64_t begin, int64_t end, Side side);
  void AddQueriesToState(const FusedSide& side);
  void WriteQueries(int64_t block, int64_t rows, bool add);
  void WriteKeys(int64_t begin, int64_t end, bool add);
  void WalkForwards();
  void WalkBackwards();
  void StepBackwards(int64_t block);

  const HeadProblem& p_;
  const cpu::Kernels& kernels_;
  const cpu::HeadShape shape_;
  const cpu::HeadShape by_values_;  // of states whose rows are those of [v | 1]
  const int64_t reach_;
  const int64_t near_reach_;  // R
  // Whether any pair of query and key lies beyond the band.
  const bool far_ = last_block() > reach_ || kB + reach_ < p_.tokens;
  KeyWindow keys_;

  // Of the block at work.
  float* queries_ = nullptr;       // phi(q)
  float* query_groups_ = nullptr;  // the same as keys lie
  float* row_grads_ = nullptr;     // [g / D | -(g . z) / D]
  float* grad_groups_ = nullptr;
  float* out_grads_ = nullptr;  // g / D
  float* query_sums_ = nullptr;
  float* far_sums_ = nullptr;
  float* diagonals_ = nullptr;  // by b(o), at o + reach + kB - 1
  float* unused_ = nullptr;     // sums of features that kernels form beside what is wanted
  // States of the walk.
  float* key_state_ = nullptr;           // sum of [v | 1] phi(k)^T
  float* query_state_ = nullptr;         // sum of [g / D | -(g . z) / D] phi(q)^T
  float* query_state_by_phi_ = nullptr;  // sum of phi(q) (g / D)^T
  float* scratch_ = nullptr;
};

void HeadBackward::SetMemory() {
  const int64_t diagonals = 2 * (reach_ + kB);
  const int64_t window = KeyWindow::Floats(shape_, Capacity());
  const int64_t state = cpu::StateFloats(by_values_.features, by_values_.head_dim);
  const int64_t state_by_phi = cpu::StateFloats(shape_.features, shape_.head_dim);
  const int64_t sizes[] = {window,
                           kB * phi_columns(),
                           kB * shape_.features,
                           kB * grad_columns(),
                           kB * by_values_.features,
                           kB * out_columns(),
                           kB * phi_columns(),
                           kB * phi_columns(),
                           diagonals,
                           kB * kGroup,
                           state,
                           state,
                           state_by_phi,
                           cpu::FeatureScratchFloats(shape_.head_dim)};
  int64_t total = 0;
  for (const int64_t size : sizes) total += cpu::RoundUp(size, kGroup);
  float* memory = cpu::ThreadScratch(total);
  float* window_memory = nullptr;
  float** const parts[] = {&window_memory,       &queries_,   &query_groups_, &row_grads_,
                           &grad_groups_,        &out_grads_, &query_sums_,   &far_sums_,
                           &diagonals_,          &unused_,    &key_state_,    &query_state_,
                           &query_state_by_phi_, &scratch_};
  for (size_t i = 0; i < std::size(sizes); ++i) {
    *parts[i] = memory;
    memory += cpu::RoundUp(sizes[i], kGroup);
  }
  keys_.SetMemory(window_memory);
  std::fill_n(diagonals_, diagonals, 0.0f);
  std::fill_n(unused_, kB * kGroup, 0.0f);
}

// phi(q), g / D and -(g . z) / D of a block, rows beyond the last token zero.
void HeadBackward::FormQueries(int64_t block, int64_t rows) {
  const int64_t d = shape_.head_dim;
  kernels_.query_features(p_.features, From(p_.q, block), rows, scratch_, queries_);
  std::fill(queries_ + rows * phi_columns(), queries_ + kB * phi_columns(), 0.0f);
  kernels_.pack_columns(queries_, phi_columns(), kB, shape_.features, query_groups_);
  std::fill_n(row_grads_, kB * grad_columns(), 0.0f);
  std::fill_n(out_grads_, kB * out_columns(), 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    const float* const g = From(p_.g, block + r).data;
    const float* const z = From(p_.z, block + r).data;
    const float inverse = 1 / *From(p_.denominators, block + r).data;
    float* const row = row_grads_ + r * grad_columns();
    float along[4] = {0, 0, 0, 0};
    for (int64_t c = 0; c < d; ++c) {
      row[c] = g[c] * inverse;
      along[c % 4] += row[c] * z[c];
    }
    row[d] = -((along[0] + along[1]) + (along[2] + along[3]));
    std::copy_n(row, d, out_grads_ + r * out_columns());
  }
  kernels_.pack_columns(row_grads_, grad_columns(), kB, shape_.head_dim + 1, grad_groups_);
}

void HeadBackward::EnterKeys(int64_t begin, int64_t end) {
  keys_.Form(kernels_, p_.features, From(p_.k, begin), From(p_.v, begin), begin,
             std::min(end, p_.tokens) - begin, scratch_);
  keys_.ClearSums(begin, std::min(end, cpu::RoundUp(p_.tokens, kGroup)));
}

void HeadBackward::WriteKeys(int64_t begin, int64_t end, bool add) {
  end = std::min(end, p_.tokens);
  for (int64_t key = begin; key < end; key += kB) {
    const int64_t rows = std::min(kB, end - key);
    kernels_.feature_gradients(p_.features, From(p_.k, key), rows, keys_.phi_rows(key),
                               keys_.key_sums(key), scratch_, p_.dk.Row(key), p_.dk.stride, add);
    for (int64_t r = 0; r < rows; ++r) {
      const float* const sums = keys_.value_sums(key + r);
      float* const out = p_.dv.Row(key + r);
      for (int64_t c = 0; c < shape_.head_dim; ++c) out[c] = sums[c] + (add ? out[c] : 0);
    }
  }
}

void HeadBackward::WriteQueries(int64_t block, int64_t rows, bool add) {
  kernels_.feature_gradients(p_.features, From(p_.q, block), rows, queries_, query_sums_, scratch_,
                             p_.dq.Row(block), p_.dq.stride, add);
}

// The keys up to `reach` tokens to each side of a block, and their share of the derivative by b.
void HeadBackward::AddTile(int64_t block, int64_t rows) {
  const int64_t key = std::max<int64_t>(0, block - reach_);
  const int64_t end = std::min(p_.tokens, block + kB + (p_.causal ? 0 : reach_));
  const int64_t center = reach_ + kB - 1;
  std::fill_n(query_sums_, kB * phi_columns(), 0.0f);
  kernels_.accumulate_gradients(
      shape_, {.rows = rows,
               .groups = cpu::KeyGroups(end - key),
               .queries = queries_,
               .row_grads = row_grads_,
               .out_grads = out_grads_,
               .keys = keys_.phi_groups(key),
               .key_rows = keys_.phi_rows(key),
               .values = keys_.value_groups(key),
               .weights = p_.band->queries.weights.data() + center + (key - block),
               .query_sums = query_sums_,
               .key_sums = keys_.key_sums(key),
               .value_sums = keys_.value_sums(key),
               .diagonals = diagonals_ + center + (key - block)});
  // Into double block by block: thousands of blocks add up.
  const int64_t last = cpu::RoundUp(end - key, kGroup) + key - 1 - block;
  for (int64_t o = key - block - (kB - 1); o <= last; ++o) {
    float& diagonal = diagonals_[center + o];
    (*p_.near_grad)[std::clamp(o, -near_reach_, near_reach_) + near_reach_] += diagonal;
    diagonal = 0;
  }
}

// Of the block's queries, by the keys beyond its band on one side: what the walk has in its state.
void HeadBackward::AddFarKeys(int64_t rows, Side side) {
  const FusedSide& factors = side == kBefore ? p_.band->queries.before : p_.band->queries.after;
  std::fill_n(far_sums_, kB * phi_columns(), 0.0f);
  kernels_.apply_state(by_values_, rows, row_grads_, key_state_, factors.row_factors.data(),
                       far_sums_, unused_);
  // Beyond R one number b stands for all distances, and its derivative is the sum of all weights
  // times theirs.
  double bias_grad = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const float* const far = far_sums_ + r * phi_columns();
    const float* const phi = queries_ + r * phi_columns();
    float sum[8] = {};
    for (int64_t c = 0; c < shape_.features; ++c) sum[c % 8] += far[c] * phi[c];
    for (const float part : sum) bias_grad += part;
  }
  (side == kBefore ? p_.near_grad->front() : p_.near_grad->back()) += bias_grad;
  kernels_.combine(rows * phi_columns(), 1, query_sums_, 1, far_sums_, query_sums_);
}

// Of keys, at most kB of them, by the queries beyond their band on one side.
void HeadBackward::AddFarQueries(int64_t begin, int64_t end, const float* factors) {
  const int64_t rows = std::min(end, p_.tokens) - begin;
  if (rows <= 0) return;
  kernels_.apply_state(by_values_, rows, keys_.value_rows(begin), query_state_, factors,
                       keys_.key_sums(begin), unused_);
  kernels_.apply_state(shape_, rows, keys_.phi_rows(begin), query_state_by_phi_, factors,
                       keys_.value_sums(begin), unused_);
}

// Keys [begin, end), whole groups and at most kB of them, now beyond the band.
void HeadBackward::AddKeysToState(int64_t begin, int64_t end, Side which) {
  const FusedSide& side = which == kBefore ? p_.band->queries.before : p_.band->queries.after;
  const int64_t length = end - begin;
  const int64_t present = std::min(end, cpu::RoundUp(p_.tokens, kGroup)) - begin;
  if (present <= 0) return;
  const float* key_weights = nullptr;
  float decay = 1;
  if (!side.constant) {
    key_weights = side.key_weights.data() + (which == kBefore ? kB - length : 0);
    decay = side.Decay(length);
  }
  kernels_.accumulate_state(by_values_, present / kGroup, keys_.value_groups(begin),
                            keys_.phi_rows(begin), key_weights, decay, key_state_);
}

// The block's queries, to the states of its side of C transposed.
void HeadBackward::AddQueriesToState(const FusedSide& side) {
  const float* const weights = side.constant ? nullptr : side.key_weights.data();
  const float decay = side.constant ? 1 : side.Decay(kB);
  kernels_.accumulate_state(by_values_, kB / kGroup, grad_groups_, queries_, weights, decay,
                            query_state_);
  kernels_.accumulate_state(shape_, kB / kGroup, query_groups_, out_grads_, weights, decay,
                            query_state_by_phi_);
}

// Keys that no later block has in its band.
void HeadBackward::LeaveKeys(int64_t begin, int64_t end) {
  WriteKeys(begin, end, /*add=*/false);
  if (!far_ || !p_.band->queries.before.present) return;
  AddKeysToState(begin, end, kBefore);
}

void HeadBackward::WalkForwards() {
  const FusedSide& earlier = p_.band->keys_before;
  const int64_t ahead = p_.causal ? 0 : reach_;
  std::fill_n(key_state_, cpu::StateFloats(by_values_.features, by_values_.head_dim), 0.0f);
  std::fill_n(query_state_, cpu::StateFloats(by_values_.features, by_values_.head_dim), 0.0f);
  std::fill_n(query_state_by_phi_, cpu::StateFloats(shape_.features, shape_.head_dim), 0.0f);
  keys_.Reset(0);
  int64_t entered = 0;
  int64_t left = 0;
  for (int64_t block = 0; block < p_.tokens; block += kB) {
    const int64_t rows = std::min(kB, p_.tokens - block);
    const int64_t end = std::min(block + kB + ahead, cpu::RoundUp(p_.tokens, kGroup));
    if (end > keys_.end()) keys_.Move(left, left, entered);
    if (end > entered) {
      EnterKeys(entered, end);
      if (block > 0 && earlier.present) AddFarQueries(entered, end, earlier.row_factors.data());
      entered = end;
    }
    FormQueries(block, rows);
    AddTile(block, rows);
    if (block > reach_ && p_.band->queries.before.present) AddFarKeys(rows, kBefore);
    WriteQueries(block, rows, /*add=*/false);
    if (far_ && earlier.present) AddQueriesToState(earlier);
    const int64_t leave = std::min(block + kB - reach_, entered);
    if (leave > left) {
      LeaveKeys(left, leave);
      left = leave;
    }
  }
  WriteKeys(left, entered, /*add=*/false);
}

void HeadBackward::WalkBackwards() {
  std::fill_n(key_state_, cpu::StateFloats(by_values_.features, by_values_.head_dim), 0.0f);
  std::fill_n(query_state_, cpu::StateFloats(by_values_.features, by_values_.head_dim), 0.0f);
  std::fill_n(query_state_by_phi_, cpu::StateFloats(shape_.features, shape_.head_dim), 0.0f);
  // From the last block whose keys, `reach` tokens before it, are there at all.
  const int64_t first = cpu::RoundUp(p_.tokens + reach_, kB) - kB;
  keys_.Reset(first - reach_ + kB - Capacity());
  for (int64_t block = first; block >= 0; block -= kB) StepBackwards(block);
}

void HeadBackward::StepBackwards(int64_t block) {
  const FusedSide& later = p_.band->keys_after;
  // Keys that this block is the last one to have in its band.
  const int64_t begin = std::max<int64_t>(0, block - reach_);
  const int64_t end = std::min(block - reach_ + kB, cpu::RoundUp(p_.tokens, kGroup));
  if (end > begin) {
    if (begin < keys_.base()) {
      const int64_t live = std::min(block + 2 * kB + reach_, keys_.end());
      keys_.Move(live - Capacity(), keys_.base(), live);
    }
    EnterKeys(begin, end);
    if (block + kB < p_.tokens && later.present) {
      AddFarQueries(begin, end, later.row_factors.data() + (begin - (block - reach_)));
      WriteKeys(begin, end, /*add=*/true);
    }
  }
  if (block >= p_.tokens) return;
  const int64_t rows = std::min(kB, p_.tokens - block);
  FormQueries(block, rows);
  const int64_t beyond = block + kB + reach_;
  if (p_.band->queries.after.present && beyond < p_.tokens) {
    AddKeysToState(beyond, beyond + kB, kAfter);
    std::fill_n(query_sums_, kB * phi_columns(), 0.0f);
    AddFarKeys(rows, kAfter);
    WriteQueries(block, rows, /*add=*/true);
  }
  if (later.present) AddQueriesToState(later);
}

}  // namespace

void DifferentiateHead(const HeadProblem& problem) { HeadBackward(problem).Run(); }

}  // namespace longwave::torch_ops
