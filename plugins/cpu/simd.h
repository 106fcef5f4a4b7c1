// Vectors of floats, with the vector extensions of GCC and Clang. The number of lanes is a template
// parameter, not a property of the processor: 16-lane code also compiles and runs, more slowly,
// with registers of 8 or 4 floats.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_SIMD_H_
#define MBERT_PLUGINS_CPU_SIMD_H_

#include <cstdint>
#include <cstring>
#include <utility>

#include "half.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// Spelled out: GCC does not accept a dependent vector_size everywhere.
template <int kLanes>
struct SimdTypes;

template <>
struct SimdTypes<4> {
  typedef float Float __attribute__((vector_size(16)));
  typedef std::int32_t Int __attribute__((vector_size(16)));
  typedef std::uint16_t Half __attribute__((vector_size(8)));
};

template <>
struct SimdTypes<8> {
  typedef float Float __attribute__((vector_size(32)));
  typedef std::int32_t Int __attribute__((vector_size(32)));
  typedef std::uint16_t Half __attribute__((vector_size(16)));
};

template <>
struct SimdTypes<16> {
  typedef float Float __attribute__((vector_size(64)));
  typedef std::int32_t Int __attribute__((vector_size(64)));
  typedef std::uint16_t Half __attribute__((vector_size(32)));
};

template <int kLanes>
struct Simd {
  using Float = typename SimdTypes<kLanes>::Float;
  using Int = typename SimdTypes<kLanes>::Int;
  using Half = typename SimdTypes<kLanes>::Half;

  [[gnu::always_inline]] static Float splat(float value) { return value - Float{}; }

  [[gnu::always_inline]] static Float load(const float* from) {
    Float value;
    std::memcpy(&value, from, sizeof(value));
    return value;
  }

  [[gnu::always_inline]] static void store(float* to, Float value) {
    std::memcpy(to, &value, sizeof(value));
  }

  // 0, 1, 2, ...
  [[gnu::always_inline]] static Int lane_index() {
    Int lanes = {};
    for (int i = 0; i < kLanes; ++i) lanes[i] = i;
    return lanes;
  }

  // The maximum; b if a is NaN.
  [[gnu::always_inline]] static Float max(Float a, Float b) { return a > b ? a : b; }

  [[gnu::always_inline]] static Float load(const Float16* from) {
    Half half;
    std::memcpy(&half, from, sizeof(half));
#if defined(__F16C__)
    if constexpr (kLanes == 8) {
      return reinterpret_cast<Float>(_mm256_cvtph_ps(reinterpret_cast<__m128i>(half)));
    }
#endif
#if defined(__AVX512F__)
    // _mm512_cvtph_ps is the same instruction, but GCC 12 warns about its definition.
    if constexpr (kLanes == 16) {
      return reinterpret_cast<Float>(
          _mm512_maskz_cvtph_ps(0xffff, reinterpret_cast<__m256i>(half)));
    }
#endif
    return float16_to_float<Int, Float>(__builtin_convertvector(half, Int));
  }

  [[gnu::always_inline]] static Float load(const BFloat16* from) {
    Half half;
    std::memcpy(&half, from, sizeof(half));
    return bfloat16_to_float<Int, Float>(__builtin_convertvector(half, Int));
  }

  [[gnu::always_inline]] static void store(Float16* to, Float value) {
    const Half half = __builtin_convertvector((float_to_float16<Int, Float>(value)), Half);
    std::memcpy(to, &half, sizeof(half));
  }

  [[gnu::always_inline]] static void store(BFloat16* to, Float value) {
    const Half half = __builtin_convertvector((float_to_bfloat16<Int, Float>(value)), Half);
    std::memcpy(to, &half, sizeof(half));
  }

  // 2^x for x <= 0, within one unit in the last place. Exactly 1 for 0, exactly 0 for x <= -127 and
  // -inf; NaN stays NaN.
  [[gnu::always_inline]] static Float exp2(Float x) {
    x = x < -127.0f ? splat(-127.0f) : x;
    // Adding 1.5 * 2^23 rounds to an integer and puts it into the low bits.
    const Float shifted = x + 12582912.0f;
    const Float fraction = x - (shifted - 12582912.0f);
    Float polynomial = fraction * 0x1.41fbbcp-13f + 0x1.5f3e52p-10f;
    polynomial = polynomial * fraction + 0x1.3b2d4cp-7f;
    polynomial = polynomial * fraction + 0x1.c6aee8p-5f;
    polynomial = polynomial * fraction + 0x1.ebfbdcp-3f;
    polynomial = polynomial * fraction + 0x1.62e43p-1f;
    polynomial = polynomial * fraction + 1.0f;
    // The exponent field is n + 127; n = -127 gives exactly 0.
    const Int power = (bit_cast<Int>(shifted) + 127) << 23;
    return polynomial * bit_cast<Float>(power);
  }

  // to[c][r] = from[r][c] for a kLanes x kLanes block of floats.
  [[gnu::always_inline]] static void transpose(const float* from, std::int64_t from_stride,
                                               float* to, std::int64_t to_stride) {
    Float rows[kLanes];
    for (int r = 0; r < kLanes; ++r) rows[r] = load(from + r * from_stride);
    exchange<1>(rows);
    exchange<2>(rows);
    if constexpr (kLanes > 4) exchange<4>(rows);
    if constexpr (kLanes > 8) exchange<8>(rows);
    for (int r = 0; r < kLanes; ++r) store(to + r * to_stride, rows[r]);
  }

 private:
  // One step of the transposition: swaps the off-diagonal kBlock x kBlock blocks.
  template <int kBlock>
  [[gnu::always_inline]] static void exchange(Float* rows) {
    for (int r = 0; r < kLanes; ++r) {
      if ((r & kBlock) != 0) continue;
      const Float upper = rows[r];
      const Float lower = rows[r + kBlock];
      rows[r] = merge_left<kBlock>(upper, lower, std::make_integer_sequence<int, kLanes>());
      rows[r + kBlock] =
          merge_right<kBlock>(upper, lower, std::make_integer_sequence<int, kLanes>());
    }
  }

  template <int kBlock, int... kIndex>
  [[gnu::always_inline]] static Float merge_left(Float a, Float b,
                                                 std::integer_sequence<int, kIndex...>) {
    return shuffle<((kIndex & kBlock) != 0 ? kLanes + kIndex - kBlock : kIndex)...>(a, b);
  }

  template <int kBlock, int... kIndex>
  [[gnu::always_inline]] static Float merge_right(Float a, Float b,
                                                  std::integer_sequence<int, kIndex...>) {
    return shuffle<((kIndex & kBlock) != 0 ? kLanes + kIndex : kIndex + kBlock)...>(a, b);
  }

  // Selects lanes, by their index in the concatenation of a and b.
  template <int... kIndex>
  [[gnu::always_inline]] static Float shuffle(Float a, Float b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, kIndex...);
#else
    return __builtin_shuffle(a, b, Int{kIndex...});  // GCC < 12 lacks __builtin_shufflevector
#endif
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_SIMD_H_
