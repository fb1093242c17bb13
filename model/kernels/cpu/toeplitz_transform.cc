#include "model/kernels/cpu/toeplitz_transform.h"

#include <cmath>
#include <cstdlib>
#include <new>
#include <type_traits>

namespace longwave::cpu {
namespace {

// The innermost levels take blocks of four vectors of 16 floats.
constexpr int64_t kLeastBlock = 64;

// exp(-2 pi i numerator / denominator).
struct Root {
  Root(int64_t numerator, int64_t denominator) {
    const double angle =
        2 * M_PI * static_cast<double>(numerator % denominator) / static_cast<double>(denominator);
    re = std::cos(angle);
    im = -std::sin(angle);
  }
  double re, im;
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
  explicit TwiddleWriter(int64_t lanes) : lanes_(lanes) {}

  // w^(power(lane)) of `size`.
  template <typename Power>
  void Vector(int64_t size, Power power) {
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      values_.push_back(static_cast<T>(Root(power(lane), size).re));
    }
    for (int64_t lane = 0; lane < lanes_; ++lane) {
      values_.push_back(static_cast<T>(Root(power(lane), size).im));
    }
  }
  // One level that splits `size` into `radix`.
  void Level(int64_t size, int64_t radix) {
    for (int64_t j = 0; j < size / radix; j += lanes_) {
      for (int64_t q = 1; q < radix; ++q) {
        Vector(size, [&](int64_t lane) { return q * (j + lane); });
      }
    }
  }
  const std::vector<T>& values() const { return values_; }

 private:
  const int64_t lanes_;
  std::vector<T> values_;
};

template <typename T>
void AppendVectorLevels(int64_t lanes, TwiddleWriter<T>& writer) {
  const bool floats = sizeof(T) == 4;
  for (int64_t size = 2 * lanes; size > 2; size /= 2) {
    if (floats && size == 4) {
      writer.Vector(4, [](int64_t lane) { return lane / 2 % 2; });
      writer.Vector(4, [](int64_t lane) { return lane % 2; });
    } else {
      writer.Vector(size, [&](int64_t lane) { return lane % (size / 2); });
    }
  }
}

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
ToeplitzTransform<T>::ToeplitzTransform(const Kernels* kernels, int64_t tokens)
    : instruction_set_(kernels),
      tokens_(tokens),
      length_(TransformLength(tokens)),
      radix_(RadixOf(length_)),
      modulation_(AllocateAligned<T>(2 * length_)) {
  if constexpr (std::is_same_v<T, float>) {
    kernels_ = kernels->transforms.narrow;
  } else {
    kernels_ = kernels->transforms.wide;
  }
  MakeTwiddles();
  for (int64_t j = 0; j < length_; ++j) {
    const Root w(j, 2 * length_);
    modulation_[j] = static_cast<T>(w.re);
    modulation_[length_ + j] = static_cast<T>(w.im);
  }
}

template <typename T>
void ToeplitzTransform<T>::MakeTwiddles() {
  const int64_t lanes = kernels_.lanes;
  TwiddleWriter<T> writer(lanes);
  writer.Level(length_, radix_);
  int64_t size = length_ / radix_;
  for (; size > 4 * lanes; size /= 4) writer.Level(size, 4);
  if (size == 4 * lanes) writer.Level(size, 2);
  AppendVectorLevels(lanes, writer);
  twiddle_count_ = static_cast<int64_t>(writer.values().size());
  twiddles_ = AllocateAligned<T>(twiddle_count_);
  std::copy(writer.values().begin(), writer.values().end(), twiddles_.get());
}

template <typename T>
int64_t ToeplitzTransform<T>::bytes() const {
  return (twiddle_count_ + 2 * length_) * static_cast<int64_t>(sizeof(T));
}

template <typename T>
std::vector<int32_t> ToeplitzTransform<T>::Order() const {
  const int64_t vectors = 2 * kernels_.lanes;
  // What the innermost level makes of a one at position 1 has the frequency in its angle.
  const AlignedArray<T> probe = AllocateAligned<T>(2 * RoundUp(vectors, 16));
  const ComplexSpan<T> x = {probe.get(), probe.get() + RoundUp(vectors, 16)};
  for (int64_t i = 0; i < vectors; ++i) {
    x.re[i] = i == 1 ? 1 : 0;
    x.im[i] = 0;
  }
  TwiddleWriter<T> writer(kernels_.lanes);
  AppendVectorLevels(kernels_.lanes, writer);
  const AlignedArray<T> twiddles = AllocateAligned<T>(writer.values().size());
  std::copy(writer.values().begin(), writer.values().end(), twiddles.get());
  kernels_.forward_vectors(twiddles.get(), x);
  std::vector<int32_t> order(vectors);
  for (int64_t i = 0; i < vectors; ++i) {
    const double turns = -std::atan2(x.im[i], x.re[i]) / (2 * M_PI);
    const int64_t frequency = std::lround(turns * static_cast<double>(vectors));
    order[i] = static_cast<int32_t>((frequency + vectors) % vectors);
  }
  // Outwards: part q of a level that splits by `radix` holds the frequencies that are q modulo it.
  const auto widen = [&](int32_t radix) {
    const size_t inner = order.size();
    std::vector<int32_t> wide(inner * radix);
    for (int32_t q = 0; q < radix; ++q) {
      for (size_t i = 0; i < inner; ++i) wide[q * inner + i] = q + radix * order[i];
    }
    order = std::move(wide);
  };
  int64_t size = length_ / radix_;
  while (size > 4 * kernels_.lanes) size /= 4;
  if (size == 4 * kernels_.lanes) widen(2);
  while (static_cast<int64_t>(order.size()) < length_ / radix_) widen(4);
  widen(radix_);
  return order;
}

template <typename T>
AlignedArray<T> ToeplitzTransform<T>::MakeKernels(absl::Span<const double> c) const {
  const ToeplitzTransform<double> exact(instruction_set_, tokens_);
  const std::vector<int32_t> exact_order = exact.Order();
  const std::vector<int32_t> order = Order();
  AlignedArray<T> halves = AllocateAligned<T>(4 * length_);
  const AlignedArray<double> memory = AllocateAligned<double>(2 * length_);
  const ComplexSpan<double> x = {memory.get(), memory.get() + length_};
  std::vector<double> natural(2 * length_);
  // y_i = sum_j c(j - i) x_j is a convolution with h(t) = c(-t).
  const auto h = [&](int64_t t) { return std::abs(t) < tokens_ ? c[tokens_ - 1 - t] : 0.0; };
  for (const int half : {0, 1}) {
    for (int64_t t = 0; t < length_; ++t) {
      x.re[t] = half == 0 ? h(t) + h(t - length_) : h(t) - h(t - length_);
      x.im[t] = 0;
    }
    if (half == 1) exact.Modulate(x, x);
    exact.kernels_.forward(exact.tables(), x);
    const double scale = 0.5 / static_cast<double>(length_);
    for (int64_t p = 0; p < length_; ++p) {
      natural[exact_order[p]] = scale * x.re[p];
      natural[length_ + exact_order[p]] = scale * x.im[p];
    }
    T* const re = halves.get() + half * 2 * length_;
    for (int64_t p = 0; p < length_; ++p) {
      re[p] = static_cast<T>(natural[order[p]]);
      re[length_ + p] = static_cast<T>(natural[length_ + order[p]]);
    }
  }
  return halves;
}

template <typename T>
void ToeplitzTransform<T>::Accumulate(const FftOperands<T>& operands) const {
  kernels_.accumulate(tables(), operands);
}

template <typename T>
void ToeplitzTransform<T>::Modulate(ComplexSpan<const T> source, ComplexSpan<T> target) const {
  kernels_.multiply(length_, {modulation_.get(), modulation_.get() + length_}, source, target);
}

template <typename T>
void ToeplitzTransform<T>::AddDemodulated(ComplexSpan<const T> odd_sums,
                                          ComplexSpan<T> sums) const {
  kernels_.add_conjugate_product(length_, {modulation_.get(), modulation_.get() + length_},
                                 odd_sums, sums);
}

template class ToeplitzTransform<float>;
template class ToeplitzTransform<double>;

}  // namespace longwave::cpu
