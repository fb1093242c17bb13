// Transforms of keys o values, products with a kernel and transforms back; see toeplitz_transform.h
// for what they are for.

#include "model/kernels/cpu/fft_kernels.h"

#include <cmath>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels/cpu/fft_kernels.cc"
#include "hwy/foreach_target.h"
// After foreach_target.
#include "hwy/highway.h"
#include "model/kernels/cpu/fft_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {
namespace {

// What happens to a block between its forward levels and its inverse ones.
template <typename T>
struct Convolve {
  const T* kernel_re;
  const T* kernel_im;
  // The transform there and back, without going through memory between them.
  HWY_INLINE void Block(const T* twiddles, int64_t at, Complex<T>& x, Complex<T>& y) const {
    ForwardVectors(twiddles, x, y);
    x = Multiply(x, LoadComplex(kernel_re + at, kernel_im + at));
    y = Multiply(y, LoadComplex(kernel_re + at + kLanes<T>, kernel_im + at + kLanes<T>));
    InverseVectors(twiddles, x, y);
  }
  static constexpr bool kInverse = true;
};

template <typename T>
struct TransformOnly {
  HWY_INLINE void Block(const T* twiddles, int64_t, Complex<T>& x, Complex<T>& y) const {
    ForwardVectors(twiddles, x, y);
  }
  static constexpr bool kInverse = false;
};

template <typename T>
HWY_INLINE void ForwardLevel(ComplexSpan<T> x, int64_t quarter, const T* twiddles) {
  for (int64_t j = 0; j < quarter; j += kLanes<T>, twiddles += 6 * kLanes<T>) {
    Complex<T> a[4];
    for (int s = 0; s < 4; ++s) a[s] = LoadComplex(x.re + j + s * quarter, x.im + j + s * quarter);
    ForwardRadix<4>(a);
    StoreComplex(a[0], x.re + j, x.im + j);
    for (int q = 1; q < 4; ++q) {
      StoreComplex(Multiply(a[q], LoadTwiddle(twiddles, q - 1)), x.re + j + q * quarter,
                   x.im + j + q * quarter);
    }
  }
}

template <typename T>
HWY_INLINE void InverseLevel(ComplexSpan<T> x, int64_t quarter, const T* twiddles) {
  for (int64_t j = 0; j < quarter; j += kLanes<T>, twiddles += 6 * kLanes<T>) {
    Complex<T> a[4];
    a[0] = LoadComplex(x.re + j, x.im + j);
    for (int q = 1; q < 4; ++q) {
      a[q] = MultiplyConjugate(LoadComplex(x.re + j + q * quarter, x.im + j + q * quarter),
                               LoadTwiddle(twiddles, q - 1));
    }
    InverseRadix<4>(a);
    for (int s = 0; s < 4; ++s) StoreComplex(a[s], x.re + j + s * quarter, x.im + j + s * quarter);
  }
}

// Four vectors: one level of two, then two blocks.
template <typename T, class Middle>
HWY_INLINE void SplitBlock(ComplexSpan<T> x, const T* twiddles, const Middle& middle, int64_t at) {
  constexpr int64_t kV = kLanes<T>;
  const T* const vectors = twiddles + 4 * kV;
  Complex<T> a[4];
  for (int s = 0; s < 4; ++s) a[s] = LoadComplex(x.re + s * kV, x.im + s * kV);
  for (int s = 0; s < 2; ++s) {
    const Complex<T> difference = Subtract(a[s], a[s + 2]);
    a[s] = Add(a[s], a[s + 2]);
    a[s + 2] = Multiply(difference, LoadTwiddle(twiddles, s));
  }
  middle.Block(vectors, at, a[0], a[1]);
  middle.Block(vectors, at + 2 * kV, a[2], a[3]);
  if (Middle::kInverse) {
    for (int s = 0; s < 2; ++s) {
      const Complex<T> odd = MultiplyConjugate(a[s + 2], LoadTwiddle(twiddles, s));
      a[s + 2] = Subtract(a[s], odd);
      a[s] = Add(a[s], odd);
    }
  }
  for (int s = 0; s < 4; ++s) StoreComplex(a[s], x.re + s * kV, x.im + s * kV);
}

// All levels below the outermost of `size` elements at x, which lie at `at` in the transform; depth
// first, so that what fits a cache stays in it until it is finished.
template <typename T, class Middle>
void Levels(ComplexSpan<T> x, int64_t size, const T* twiddles, const Middle& middle, int64_t at) {
  constexpr int64_t kV = kLanes<T>;
  if (size == 2 * kV) {
    Complex<T> a = LoadComplex(x.re, x.im);
    Complex<T> b = LoadComplex(x.re + kV, x.im + kV);
    middle.Block(twiddles, at, a, b);
    StoreComplex(a, x.re, x.im);
    StoreComplex(b, x.re + kV, x.im + kV);
    return;
  }
  if (size == 4 * kV) return SplitBlock(x, twiddles, middle, at);
  const int64_t quarter = size / 4;
  ForwardLevel(x, quarter, twiddles);
  const T* const inner = twiddles + 6 * quarter;
  for (int64_t q = 0; q < 4; ++q) {
    const int64_t first = q * quarter;
    Levels(ComplexSpan<T>{x.re + first, x.im + first}, quarter, inner, middle, at + first);
  }
  if (Middle::kInverse) InverseLevel(x, quarter, twiddles);
}

template <typename T, class Middle>
void Blocks(const FftTables<T>& tables, ComplexSpan<T> x, const Middle& middle) {
  const T* const twiddles = tables.twiddles + 2 * (tables.radix - 1) * tables.block;
  for (int64_t q = 0; q < tables.radix; ++q) {
    const int64_t first = q * tables.block;
    Levels(ComplexSpan<T>{x.re + first, x.im + first}, tables.block, twiddles, middle, first);
  }
}

// The outermost level; Source yields element i of the input.
template <int kRadix, typename T, class Source>
HWY_INLINE void Enter(const FftTables<T>& tables, const Source& source, ComplexSpan<T> x) {
  const int64_t block = tables.block;
  const T* twiddles = tables.twiddles;
  for (int64_t j = 0; j < block; j += kLanes<T>, twiddles += 2 * (kRadix - 1) * kLanes<T>) {
    Complex<T> a[kRadix];
    for (int s = 0; s < kRadix; ++s) a[s] = source(j + s * block);
    ForwardRadix<kRadix>(a);
    StoreComplex(a[0], x.re + j, x.im + j);
    for (int q = 1; q < kRadix; ++q) {
      StoreComplex(Multiply(a[q], LoadTwiddle(twiddles, q - 1)), x.re + j + q * block,
                   x.im + j + q * block);
    }
  }
}

// The outermost level of the way back, multiplied by queries and added to the sums.
template <int kRadix, typename T>
HWY_INLINE void Leave(const FftTables<T>& tables, const FftOperands<T>& operands) {
  const int64_t block = tables.block;
  const T* twiddles = tables.twiddles;
  const Tag<T> d;
  const ComplexSpan<T> x = operands.work;
  for (int64_t j = 0; j < block; j += kLanes<T>, twiddles += 2 * (kRadix - 1) * kLanes<T>) {
    Complex<T> a[kRadix];
    a[0] = LoadComplex(x.re + j, x.im + j);
    for (int q = 1; q < kRadix; ++q) {
      a[q] = MultiplyConjugate(LoadComplex(x.re + j + q * block, x.im + j + q * block),
                               LoadTwiddle(twiddles, q - 1));
    }
    InverseRadix<kRadix>(a);
    for (int s = 0; s < kRadix; ++s) {
      const int64_t i = j + s * block;
      const auto query = hn::Load(d, operands.queries + i);
      T* const re = operands.sums.re + i;
      T* const im = operands.sums.im + i;
      hn::Store(hn::MulAdd(query, a[s].re, hn::Load(d, re)), d, re);
      hn::Store(hn::MulAdd(query, a[s].im, hn::Load(d, im)), d, im);
    }
  }
}

template <int kRadix, typename T>
HWY_NOINLINE void AccumulateRadix(const FftTables<T>& tables, const FftOperands<T>& operands) {
  const Tag<T> d;
  const auto product = [&](int64_t i) HWY_ATTR {
    const auto key = hn::Load(d, operands.keys + i);
    return Complex<T>{hn::Mul(key, hn::Load(d, operands.values.re + i)),
                      hn::Mul(key, hn::Load(d, operands.values.im + i))};
  };
  Enter<kRadix>(tables, product, operands.work);
  Blocks(tables, operands.work, Convolve<T>{operands.kernel.re, operands.kernel.im});
  Leave<kRadix>(tables, operands);
}

template <typename T>
void Accumulate(const FftTables<T>& tables, const FftOperands<T>& operands) {
  switch (tables.radix) {
    case 3:
      return AccumulateRadix<3>(tables, operands);
    case 4:
      return AccumulateRadix<4>(tables, operands);
    case 5:
      return AccumulateRadix<5>(tables, operands);
    default:
      return AccumulateRadix<7>(tables, operands);
  }
}

template <int kRadix, typename T>
HWY_NOINLINE void ForwardRadixTransform(const FftTables<T>& tables, ComplexSpan<T> x) {
  const auto element = [&](int64_t i) HWY_ATTR { return LoadComplex(x.re + i, x.im + i); };
  Enter<kRadix>(tables, element, x);
  Blocks(tables, x, TransformOnly<T>{});
}

template <typename T>
void Forward(const FftTables<T>& tables, ComplexSpan<T> x) {
  switch (tables.radix) {
    case 3:
      return ForwardRadixTransform<3>(tables, x);
    case 4:
      return ForwardRadixTransform<4>(tables, x);
    case 5:
      return ForwardRadixTransform<5>(tables, x);
    default:
      return ForwardRadixTransform<7>(tables, x);
  }
}

template <typename T>
void ForwardVectorsInMemory(const T* twiddles, ComplexSpan<T> x) {
  Levels(x, 2 * kLanes<T>, twiddles, TransformOnly<T>{}, 0);
}

template <typename T>
void MultiplySpans(int64_t count, ComplexSpan<const T> factors, ComplexSpan<const T> source,
                   ComplexSpan<T> target) {
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    StoreComplex(Multiply(LoadComplex(source.re + i, source.im + i),
                          LoadComplex(factors.re + i, factors.im + i)),
                 target.re + i, target.im + i);
  }
}

template <typename T>
void AddConjugateProduct(int64_t count, ComplexSpan<const T> factors, ComplexSpan<const T> source,
                         ComplexSpan<T> target) {
  for (int64_t i = 0; i < count; i += kLanes<T>) {
    const Complex<T> product = MultiplyConjugate(LoadComplex(source.re + i, source.im + i),
                                                 LoadComplex(factors.re + i, factors.im + i));
    StoreComplex(Add(LoadComplex<T>(target.re + i, target.im + i), product), target.re + i,
                 target.im + i);
  }
}

template <typename T>
FftKernels<T> KernelsOf() {
  return {.lanes = static_cast<int>(kLanes<T>),
          .accumulate = &Accumulate<T>,
          .forward = &Forward<T>,
          .forward_vectors = &ForwardVectorsInMemory<T>,
          .multiply = &MultiplySpans<T>,
          .add_conjugate_product = &AddConjugateProduct<T>};
}

}  // namespace

AllFftKernels GetFftKernels() {
  return {.narrow = KernelsOf<float>(), .wide = KernelsOf<double>()};
}

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::cpu {

HWY_EXPORT(GetFftKernels);

AllFftKernels FftKernelsAt(size_t index) { return HWY_DISPATCH_TABLE(GetFftKernels)[index](); }

}  // namespace longwave::cpu
#endif
