#include "model/kernels/cpu/toeplitz_transform.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <type_traits>

namespace longwave::cpu {
namespace {

// The innermost levels take blocks of four vectors of 16 floats.
constexpr int64_t kLeastBlock = 64;

struct Root {
  double re, im;
};

// w^k for 0 <= k < size, w = exp(-2 pi i / size): the product of two entries of short tables, off
// by a few 2^-53 at most.
class RootTable {
 public:
  explicit RootTable(int64_t size) : size_(size) {
    while ((int64_t{1} << (2 * shift_)) < size) ++shift_;
    for (int64_t i = 0; i < int64_t{1} << shift_; ++i) fine_.push_back(Exact(i));
    for (int64_t i = 0; i << shift_ < size; ++i) coarse_.push_back(Exact(i << shift_));
  }
  int64_t size() const { return size_; }
  Root operator()(int64_t k) const {
    const Root& a = coarse_[k >> shift_];
    const Root& b = fine_[k & ((int64_t{1} << shift_) - 1)];
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }

 private:
  Root Exact(int64_t k) const {
    const double angle = 2 * M_PI * static_cast<double>(k) / static_cast<double>(size_);
    return {std::cos(angle), -std::sin(angle)};
  }

  const int64_t size_;
  int shift_ = 0;
  std::vector<Root> coarse_;
  std::vector<Root> fine_;
};

int RadixOf(int64_t length) {
  for (const int radix : {3, 5, 7}) {
    if (length % radix == 0) return radix;
  }
  return 4;
}

// Appends vectors of roots in the layout of FftTables.
template <typename T>
class TwiddleWriter {
 public:
  // `roots`: of a multiple of every size.
  TwiddleWriter(const RootTable& roots, int64_t lanes) : roots_(roots), lanes_(lanes) {}

  // One level that splits `size` into `radix`.
  void Level(int64_t size, int64_t radix) {
    for (int64_t j = 0; j < size / radix; j += lanes_) {
      for (int64_t q = 1; q < radix; ++q) {
        Vector(size, [&](int64_t lane) { return q * (j + lane); });
      }
    }
  }
  // Those within two vectors.
  void VectorLevels() {
    for (int64_t size = 2 * lanes_; size > 2; size /= 2) {
      if (sizeof(T) == 4 && size == 4) {
        Vector(4, [](int64_t lane) { return lane / 2 % 2; });
        Vector(4, [](int64_t lane) { return lane % 2; });
      } else {
        Vector(size, [&](int64_t lane) { return lane % (size / 2); });
      }
    }
  }
  const std::vector<T>& values() const { return values_; }

 private:
  // w^(power(lane)) of `size`.
  template <typename Power>
  void Vector(int64_t size, Power power) {
    const size_t re = values_.size();
    values_.resize(re + 2 * lanes_);
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      const Root root = roots_(power(lane) * (roots_.size() / size));
      values_[re + lane] = static_cast<T>(root.re);
      values_[re + lanes_ + lane] = static_cast<T>(root.im);
    }
  }

  const RootTable& roots_;
  const int64_t lanes_;
  std::vector<T> values_;
};

}  // namespace

int64_t TransformLength(int64_t tokens) {
  int64_t power = kLeastBlock;
  while (7 * power < tokens) power *= 2;
  // In units of power / 2: 6, 7 are there as 3 and as 7 of half.
  for (const int64_t factor : {3, 4, 5, 6}) {
    if (factor * power >= tokens) return factor * power;
  }
  return 7 * power;
}

void AlignedFree::operator()(void* memory) const { std::free(memory); }

template <typename T>
AlignedArray<T> AllocateAligned(int64_t count) {
  const int64_t bytes = RoundUp(count * static_cast<int64_t>(sizeof(T)), 64);
  void* const memory = std::aligned_alloc(64, static_cast<size_t>(bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return AlignedArray<T>(static_cast<T*>(memory));
}
template AlignedArray<float> AllocateAligned(int64_t count);
template AlignedArray<double> AllocateAligned(int64_t count);

template <typename T>
ToeplitzTransform<T>::ToeplitzTransform(const Kernels* kernels, int64_t length)
    : length_(length), radix_(RadixOf(length)), modulation_(AllocateAligned<T>(2 * length)) {
  if constexpr (std::is_same_v<T, float>) {
    kernels_ = kernels->transforms.narrow;
  } else {
    kernels_ = kernels->transforms.wide;
  }
  MakeTwiddles();
  MakeOrder();
}

template <typename T>
void ToeplitzTransform<T>::MakeTwiddles() {
  const int64_t lanes = kernels_.lanes;
  const RootTable roots(2 * length_);
  TwiddleWriter<T> writer(roots, lanes);
  writer.Level(length_, radix_);
  int64_t size = length_ / radix_;
  for (; size > 4 * lanes; size /= 4) writer.Level(size, 4);
  if (size == 4 * lanes) writer.Level(size, 2);
  writer.VectorLevels();
  twiddle_count_ = static_cast<int64_t>(writer.values().size());
  twiddles_ = AllocateAligned<T>(twiddle_count_);
  std::copy(writer.values().begin(), writer.values().end(), twiddles_.get());
  for (int64_t j = 0; j < length_; ++j) {
    const Root w = roots(j);
    modulation_[j] = static_cast<T>(w.re);
    modulation_[length_ + j] = static_cast<T>(w.im);
  }
}

template <typename T>
void ToeplitzTransform<T>::MakeOrder() {
  const int64_t lanes = kernels_.lanes;
  const int64_t vectors = 2 * lanes;
  // What the innermost level makes of a one at position 1 has its frequency in its angle.
  const AlignedArray<T> probe = AllocateAligned<T>(2 * kLeastBlock);
  const ComplexSpan<T> x = {probe.get(), probe.get() + kLeastBlock};
  std::fill(x.re, x.re + 2 * kLeastBlock, T{0});
  x.re[1] = 1;
  const RootTable roots(vectors);
  TwiddleWriter<T> writer(roots, lanes);
  writer.VectorLevels();
  const AlignedArray<T> twiddles = AllocateAligned<T>(writer.values().size());
  std::copy(writer.values().begin(), writer.values().end(), twiddles.get());
  kernels_.forward_vectors(twiddles.get(), x);
  order_.reserve(length_);
  for (int64_t i = 0; i < vectors; ++i) {
    const double turns = -std::atan2(x.im[i], x.re[i]) / (2 * M_PI);
    const int64_t frequency = std::lround(turns * static_cast<double>(vectors));
    order_.push_back(static_cast<int32_t>((frequency + vectors) % vectors));
  }
  // Outwards: part q of a level that splits by `radix` holds the frequencies that are q modulo it.
  const auto widen = [&](int32_t radix) {
    const size_t inner = order_.size();
    for (int32_t& frequency : order_) frequency *= radix;
    for (int32_t q = 1; q < radix; ++q) {
      for (size_t i = 0; i < inner; ++i) order_.push_back(order_[i] + q);
    }
  };
  int64_t size = length_ / radix_;
  while (size > 4 * lanes) size /= 4;
  if (size == 4 * lanes) widen(2);
  while (static_cast<int64_t>(order_.size()) < length_ / radix_) widen(4);
  widen(radix_);
}

template <typename T>
int64_t ToeplitzTransform<T>::bytes() const {
  return (twiddle_count_ + 2 * length_) * static_cast<int64_t>(sizeof(T)) +
         length_ * static_cast<int64_t>(sizeof(int32_t));
}

// y_i = sum_j c(j - i) x_j is a convolution with h(t) = c(-t).
template <typename T>
void ToeplitzTransform<T>::MakeKernel(Half half, absl::Span<const double> c,
                                      const ToeplitzTransform<double>& exact,
                                      ComplexSpan<T> target) const {
  const int64_t tokens = (static_cast<int64_t>(c.size()) + 1) / 2;
  const AlignedArray<double> memory = AllocateAligned<double>(2 * length_);
  const ComplexSpan<double> x = {memory.get(), memory.get() + length_};
  std::fill(x.re, x.re + 2 * length_, 0.0);
  for (int64_t t = 0; t < tokens; ++t) x.re[t] = c[tokens - 1 - t];
  const double sign = half == Half::kEven ? 1 : -1;
  for (int64_t t = length_ - tokens + 1; t < length_; ++t) {
    x.re[t] += sign * c[tokens - 1 + length_ - t];
  }
  if (half == Half::kOdd) exact.Modulate(x, x);
  exact.kernels_.forward(exact.tables(), x);

  std::vector<int32_t> position(length_);
  for (int64_t p = 0; p < length_; ++p) position[order_[p]] = static_cast<int32_t>(p);
  const double scale = 0.5 / static_cast<double>(length_);
  for (int64_t p = 0; p < length_; ++p) {
    const int32_t place = position[exact.order_[p]];
    target.re[place] = static_cast<T>(scale * x.re[p]);
    target.im[place] = static_cast<T>(scale * x.im[p]);
  }
}

template <typename T>
void ToeplitzTransform<T>::Accumulate(const FftOperands<T>& operands) const {
  kernels_.accumulate(tables(), operands);
}

template <typename T>
void ToeplitzTransform<T>::Modulate(ComplexSpan<const T> source, ComplexSpan<T> target) const {
  kernels_.multiply(length_, modulation(), source, target);
}

template <typename T>
void ToeplitzTransform<T>::AddDemodulated(ComplexSpan<const T> odd_sums,
                                          ComplexSpan<T> sums) const {
  kernels_.add_conjugate_product(length_, modulation(), odd_sums, sums);
}

template class ToeplitzTransform<float>;
template class ToeplitzTransform<double>;

}  // namespace longwave::cpu
