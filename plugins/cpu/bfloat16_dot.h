// The product of bfloat16 numbers on one instruction set, with sums in float32: a step takes two
// inputs of 16 columns. Without an instruction for it, both operands are widened to float32.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_BFLOAT16_DOT_H_
#define MBERT_PLUGINS_CPU_BFLOAT16_DOT_H_

#include <cstdint>

#include "float_dot.h"
#include "linear_layout.h"
#include "simd.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

#if defined(__AVX512BF16__)

// AVX512_BF16: vdpbf16ps adds two products to each lane.
template <int kLanes>
struct BFloat16Dot {
  static_assert(kLanes == kPanelColumns);

  static constexpr WeightType kType = WeightType::kBFloat16;
  using Weight = BFloat16;
  using Input = BFloat16;
  using Sum = float;
  using Acc = __m512;
  static constexpr int kParts = 1, kRows = 8, kVectors = 2;

  [[gnu::always_inline]] static void round(typename Simd<kLanes>::Float x, Input* to) {
    Simd<kLanes>::store(to, x);
  }
  [[gnu::always_inline]] static Acc zero() { return _mm512_setzero_ps(); }
  [[gnu::always_inline]] static __m512bh weights(const Weight* from, int /*part*/) {
    return read<__m512bh>(from);
  }
  [[gnu::always_inline]] static __m512bh inputs(const Input* from) {
    return bit_cast<__m512bh>(_mm512_set1_epi32(read<std::int32_t>(from)));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m512bh w, __m512bh a) {
    return _mm512_dpbf16_ps(acc, w, a);
  }
  [[gnu::always_inline]] static void store(const Acc* acc, Sum* to) {
    _mm512_storeu_ps(to, acc[0]);
  }
};

#else

template <int kLanes>
struct BFloat16Dot : FloatSums<kLanes> {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;

  // The weights, and the values, of two consecutive inputs.
  struct Weights {
    Float first, second;
  };
  struct Inputs {
    float first, second;
  };

  static constexpr WeightType kType = WeightType::kBFloat16;
  using Weight = BFloat16;
  using Input = float;
#if defined(__AVX512F__)
  static constexpr int kRows = 8, kVectors = 2;
#elif defined(__aarch64__)
  static constexpr int kRows = 4, kVectors = 4;
#else
  static constexpr int kRows = 4, kVectors = 2;
#endif

  [[gnu::always_inline]] static void round(Float x, Input* to) {
    V::store(to, bit_cast<Float>(float_to_bfloat16<Int, Float>(x) << 16));
  }
  [[gnu::always_inline]] static Weights weights(const Weight* from, int part) {
    const Int both = read<Int>(from + 2 * part * kLanes);
    return {bit_cast<Float>(both << 16), bit_cast<Float>(both & static_cast<int>(0xffff0000U))};
  }
  [[gnu::always_inline]] static Inputs inputs(const Input* from) { return {from[0], from[1]}; }
  [[gnu::always_inline]] static Float multiply_add(Float acc, Weights w, Inputs a) {
    return acc + w.first * a.first + w.second * a.second;
  }
};

#endif

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_BFLOAT16_DOT_H_
