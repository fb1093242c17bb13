// Complex vectors and the small transforms within them. Included once per instruction set by
// Highway's foreach_target, hence the toggled guard.
#if defined(LONGWAVE_MODEL_KERNELS_CPU_FFT_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGWAVE_MODEL_KERNELS_CPU_FFT_VECTORS_INL_H_
#undef LONGWAVE_MODEL_KERNELS_CPU_FFT_VECTORS_INL_H_
#else
#define LONGWAVE_MODEL_KERNELS_CPU_FFT_VECTORS_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

template <typename T>
using Tag = hn::CappedTag<T, 64 / sizeof(T)>;
template <typename T>
using VectorOf = hn::Vec<Tag<T>>;
template <typename T>
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(Tag<T>()));

template <typename T>
struct Complex {
  VectorOf<T> re;
  VectorOf<T> im;
};

template <typename T>
HWY_INLINE Complex<T> LoadComplex(const T* re, const T* im) {
  const Tag<T> d;
  return {hn::Load(d, re), hn::Load(d, im)};
}
template <typename T>
HWY_INLINE void StoreComplex(const Complex<T>& x, T* re, T* im) {
  const Tag<T> d;
  hn::Store(x.re, d, re);
  hn::Store(x.im, d, im);
}
template <typename T>
HWY_INLINE Complex<T> LoadTwiddle(const T* twiddles, int64_t index) {
  const T* const factor = twiddles + index * 2 * kLanes<T>;
  return LoadComplex(factor, factor + kLanes<T>);
}

template <typename T>
HWY_INLINE Complex<T> Add(const Complex<T>& a, const Complex<T>& b) {
  return {hn::Add(a.re, b.re), hn::Add(a.im, b.im)};
}
template <typename T>
HWY_INLINE Complex<T> Subtract(const Complex<T>& a, const Complex<T>& b) {
  return {hn::Sub(a.re, b.re), hn::Sub(a.im, b.im)};
}
template <typename T>
HWY_INLINE Complex<T> Multiply(const Complex<T>& a, const Complex<T>& w) {
  return {hn::MulSub(a.re, w.re, hn::Mul(a.im, w.im)), hn::MulAdd(a.re, w.im, hn::Mul(a.im, w.re))};
}
template <typename T>
HWY_INLINE Complex<T> MultiplyConjugate(const Complex<T>& a, const Complex<T>& w) {
  return {hn::MulAdd(a.re, w.re, hn::Mul(a.im, w.im)), hn::MulSub(a.im, w.re, hn::Mul(a.re, w.im))};
}

// cos and sin of 2 pi k / radix.
template <int kRadix>
struct Roots;
template <>
struct Roots<3> {
  static constexpr double kCos[3] = {1, -0.5, -0.5};
  static constexpr double kSin[3] = {0, 0.86602540378443864676, -0.86602540378443864676};
};
template <>
struct Roots<5> {
  static constexpr double kCos[5] = {1, 0.30901699437494742410, -0.80901699437494742410,
                                     -0.80901699437494742410, 0.30901699437494742410};
  static constexpr double kSin[5] = {0, 0.95105651629515357212, 0.58778525229247312917,
                                     -0.58778525229247312917, -0.95105651629515357212};
};
template <>
struct Roots<7> {
  static constexpr double kCos[7] = {1,
                                     0.62348980185873353053,
                                     -0.22252093395631440429,
                                     -0.90096886790241912624,
                                     -0.90096886790241912624,
                                     -0.22252093395631440429,
                                     0.62348980185873353053};
  static constexpr double kSin[7] = {0,
                                     0.78183148246802980871,
                                     0.97492791218182360702,
                                     0.43388373911755812048,
                                     -0.43388373911755812048,
                                     -0.97492791218182360702,
                                     -0.78183148246802980871};
};

// a_q = sum over s of a_s exp(-sign 2 pi i q s / radix), for odd radices: pairs s and radix - s
// share their products with the cosine and the sine.
template <int kRadix, int kSign, typename T>
HWY_INLINE void OddRadix(Complex<T>* a) {
  const Tag<T> d;
  constexpr int kHalf = kRadix / 2;
  Complex<T> sums[kHalf];
  Complex<T> differences[kHalf];
  for (int s = 1; s <= kHalf; ++s) {
    sums[s - 1] = Add(a[s], a[kRadix - s]);
    differences[s - 1] = Subtract(a[s], a[kRadix - s]);
  }
  const Complex<T> first = a[0];
  for (int s = 0; s < kHalf; ++s) a[0] = Add(a[0], sums[s]);
  for (int q = 1; q <= kHalf; ++q) {
    Complex<T> even = first;
    Complex<T> odd = {hn::Zero(d), hn::Zero(d)};
    for (int s = 1; s <= kHalf; ++s) {
      const auto cosine = hn::Set(d, static_cast<T>(Roots<kRadix>::kCos[q * s % kRadix]));
      const auto sine = hn::Set(d, static_cast<T>(kSign * Roots<kRadix>::kSin[q * s % kRadix]));
      even.re = hn::MulAdd(cosine, sums[s - 1].re, even.re);
      even.im = hn::MulAdd(cosine, sums[s - 1].im, even.im);
      odd.re = hn::MulAdd(sine, differences[s - 1].re, odd.re);
      odd.im = hn::MulAdd(sine, differences[s - 1].im, odd.im);
    }
    // even - i odd, and even + i odd for the mirrored frequency.
    a[q] = {hn::Add(even.re, odd.im), hn::Sub(even.im, odd.re)};
    a[kRadix - q] = {hn::Sub(even.re, odd.im), hn::Add(even.im, odd.re)};
  }
}

template <int kSign, typename T>
HWY_INLINE void RadixFour(Complex<T>* a) {
  const Complex<T> t0 = Add(a[0], a[2]);
  const Complex<T> t1 = Subtract(a[0], a[2]);
  const Complex<T> t2 = Add(a[1], a[3]);
  const Complex<T> t3 = Subtract(a[1], a[3]);
  const Complex<T> plus = {hn::Add(t1.re, t3.im), hn::Sub(t1.im, t3.re)};   // t1 - i t3
  const Complex<T> minus = {hn::Sub(t1.re, t3.im), hn::Add(t1.im, t3.re)};  // t1 + i t3
  a[0] = Add(t0, t2);
  a[2] = Subtract(t0, t2);
  a[1] = kSign > 0 ? plus : minus;
  a[3] = kSign > 0 ? minus : plus;
}

template <int kRadix, int kSign, typename T>
HWY_INLINE void Radix(Complex<T>* a) {
  if constexpr (kRadix == 4) {
    RadixFour<kSign>(a);
  } else {
    OddRadix<kRadix, kSign>(a);
  }
}
template <int kRadix, typename T>
HWY_INLINE void ForwardRadix(Complex<T>* a) {
  Radix<kRadix, 1>(a);
}
template <int kRadix, typename T>
HWY_INLINE void InverseRadix(Complex<T>* a) {
  Radix<kRadix, -1>(a);
}

// Exchanges within two vectors. A level pairs x with y lane by lane; the exchange after it brings
// the elements that the next level pairs into the same lane of both. Each swaps "which vector" with
// one bit of the lane's number, largest first: halves of the vector, 16-byte blocks, then lanes.

template <typename T>
HWY_INLINE void SwapHalves(VectorOf<T>& x, VectorOf<T>& y) {
#if HWY_TARGET != HWY_SCALAR
  const Tag<T> d;
  const VectorOf<T> lower = hn::ConcatLowerLower(d, y, x);
  y = hn::ConcatUpperUpper(d, y, x);
  x = lower;
#endif
}

template <typename T>
HWY_INLINE void SwapBlocks(VectorOf<T>& x, VectorOf<T>& y) {
#if HWY_TARGET != HWY_SCALAR
  const VectorOf<T> even = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(y), x);
  y = hn::OddEvenBlocks(y, hn::SwapAdjacentBlocks(x));
  x = even;
#endif
}

// Pairs of floats within a block.
HWY_INLINE void SwapFloatPairs(VectorOf<float>& x, VectorOf<float>& y) {
#if HWY_TARGET != HWY_SCALAR
  const Tag<float> d;
  const hn::Repartition<double, Tag<float>> pairs;
  const auto xd = hn::BitCast(pairs, x);
  const auto yd = hn::BitCast(pairs, y);
  x = hn::BitCast(d, hn::InterleaveLower(pairs, xd, yd));
  y = hn::BitCast(d, hn::InterleaveUpper(pairs, xd, yd));
#endif
}

template <typename T>
HWY_INLINE void Interleave(VectorOf<T>& x, VectorOf<T>& y) {
#if HWY_TARGET != HWY_SCALAR
  const Tag<T> d;
  const VectorOf<T> lower = hn::InterleaveLower(d, x, y);
  y = hn::InterleaveUpper(d, x, y);
  x = lower;
#endif
}

HWY_INLINE void SwapAdjacentFloats(VectorOf<float>& x, VectorOf<float>& y) {
#if HWY_TARGET != HWY_SCALAR
  const VectorOf<float> even = hn::OddEven(hn::Shuffle2301(y), x);
  y = hn::OddEven(y, hn::Shuffle2301(x));
  x = even;
#endif
}

// Levels within 2 V elements beside the first: log2(V).
template <typename T>
constexpr int LaneLevels() {
  int levels = 0;
  for (int64_t lanes = kLanes<T>; lanes > 1; lanes /= 2) ++levels;
  return levels;
}
template <typename T>
inline constexpr int kBlockLevels = LaneLevels<T>() - (sizeof(T) == 4 ? 2 : 1);

// Before level 1 + kLevel of the way there. Floats of a block are interleaved twice, which rotates
// (vector, lane bit 1, lane bit 0) and needs one shuffle a vector.
template <int kLevel, typename T>
HWY_INLINE void ExchangeForward(VectorOf<T>& x, VectorOf<T>& y) {
  if constexpr (kLevel < kBlockLevels<T>) {
    if constexpr (kLevel == 0) {
      SwapHalves<T>(x, y);
    } else {
      SwapBlocks<T>(x, y);
    }
  } else {
    Interleave<T>(x, y);
  }
}
// After level 1 + kLevel of the way back. What two rotations did is undone by two swaps, one of
// which would need three shuffles as a rotation; between them lanes lie otherwise than on the way
// there, so that the factors of that level are there twice.
template <int kLevel, typename T>
HWY_INLINE void ExchangeInverse(VectorOf<T>& x, VectorOf<T>& y) {
  if constexpr (kLevel < kBlockLevels<T>) {
    ExchangeForward<kLevel, T>(x, y);
  } else if constexpr (sizeof(T) == 8) {
    Interleave<T>(x, y);
  } else if constexpr (kLevel == kBlockLevels<T>) {
    SwapFloatPairs(x, y);
  } else {
    SwapAdjacentFloats(x, y);
  }
}

template <int kLevel, typename T>
HWY_INLINE void ForwardVectorLevels(const T* twiddles, Complex<T>& x, Complex<T>& y) {
  const Complex<T> difference = Subtract(x, y);
  x = Add(x, y);
  if constexpr (kLevel == LaneLevels<T>()) {
    y = difference;
  } else {
    y = Multiply(difference, LoadTwiddle(twiddles, kLevel));
    ExchangeForward<kLevel, T>(x.re, y.re);
    ExchangeForward<kLevel, T>(x.im, y.im);
    ForwardVectorLevels<kLevel + 1>(twiddles, x, y);
  }
}

template <int kLevel, typename T>
HWY_INLINE void InverseVectorLevels(const T* twiddles, Complex<T>& x, Complex<T>& y) {
  if constexpr (kLevel < LaneLevels<T>()) {
    InverseVectorLevels<kLevel + 1>(twiddles, x, y);
    ExchangeInverse<kLevel, T>(x.re, y.re);
    ExchangeInverse<kLevel, T>(x.im, y.im);
    constexpr bool kOtherOrder = sizeof(T) == 4 && kLevel + 1 == LaneLevels<T>();
    y = MultiplyConjugate(y, LoadTwiddle(twiddles, kOtherOrder ? kLevel + 1 : kLevel));
  }
  const Complex<T> difference = Subtract(x, y);
  x = Add(x, y);
  y = difference;
}

// The transform of the 2 V elements of x and y, decimated in frequency, and its inverse.
template <typename T>
HWY_INLINE void ForwardVectors(const T* twiddles, Complex<T>& x, Complex<T>& y) {
  ForwardVectorLevels<0>(twiddles, x, y);
}
template <typename T>
HWY_INLINE void InverseVectors(const T* twiddles, Complex<T>& x, Complex<T>& y) {
  InverseVectorLevels<0>(twiddles, x, y);
}

}  // namespace longwave::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LONGWAVE_MODEL_KERNELS_CPU_FFT_VECTORS_INL_H_
