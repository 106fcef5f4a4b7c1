// The product of bytes on one instruction set, with exact sums in 32 bits.
//
// IntegerDot is a Dot of linear_kernel.h with one more member:
//   kZero        the zero point of the weights that the sums still contain
// Weights are 0 to 255 and inputs -127 to 127. The sum of two products, at most 64,770 in
// magnitude, does not fit in 16 bits; no instruction used here sums in 16 bits, so nothing
// saturates.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_INTEGER_DOT_H_
#define MBERT_PLUGINS_CPU_INTEGER_DOT_H_

#include <cstdint>
#include <cstring>

#include "half.h"
#include "linear_task.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// What all IntegerDots have in common.
struct IntegerTypes {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
};

#if defined(__AVX512VNNI__)

// VNNI: vpdpbusd multiplies uint8 by int8 and adds four products to each lane.
struct IntegerDot : IntegerTypes {
  using Input = std::int8_t;
  using Acc = __m512i;
  static constexpr int kParts = 1, kRows = 8, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm512_setzero_si512(); }
  [[gnu::always_inline]] static __m512i weights(const std::uint8_t* from, int /*part*/) {
    return _mm512_loadu_si512(from);
  }
  [[gnu::always_inline]] static __m512i inputs(const Input* from) {
    return _mm512_set1_epi32(read<std::int32_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m512i w, __m512i a) {
    return _mm512_dpbusd_epi32(acc, w, a);
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    _mm512_storeu_si512(to, acc[0]);
  }
};

#elif defined(__AVXVNNI__)

struct IntegerDot : IntegerTypes {
  using Input = std::int8_t;
  using Acc = __m256i;
  static constexpr int kParts = 2, kRows = 4, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static __m256i weights(const std::uint8_t* from, int part) {
    return read<__m256i>(from + 32 * part);
  }
  [[gnu::always_inline]] static __m256i inputs(const Input* from) {
    return _mm256_set1_epi32(read<std::int32_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m256i w, __m256i a) {
    return _mm256_dpbusd_avx_epi32(acc, w, a);
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    std::memcpy(to, acc, 2 * sizeof(Acc));
  }
};

#elif defined(__AVX2__)

#if defined(__AVX512BW__)

// Vectors of 64 bytes.
struct Words {
  using Vector = __m512i;
  using Bytes = __m256i;  // as many bytes as a vector has 16-bit words
  static constexpr int kRows = 8;

  [[gnu::always_inline]] static Vector zero() { return _mm512_setzero_si512(); }
  [[gnu::always_inline]] static Vector widen(Bytes bytes) { return _mm512_cvtepu8_epi16(bytes); }
  [[gnu::always_inline]] static Vector splat(std::int64_t four) { return _mm512_set1_epi64(four); }
  [[gnu::always_inline]] static Vector multiply_add(Vector acc, Vector a, Vector b) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(a, b));
  }
};

#else

// Vectors of 32 bytes.
struct Words {
  using Vector = __m256i;
  using Bytes = __m128i;
  static constexpr int kRows = 4;

  [[gnu::always_inline]] static Vector zero() { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static Vector widen(Bytes bytes) { return _mm256_cvtepu8_epi16(bytes); }
  [[gnu::always_inline]] static Vector splat(std::int64_t four) { return _mm256_set1_epi64x(four); }
  [[gnu::always_inline]] static Vector multiply_add(Vector acc, Vector a, Vector b) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
  }
};

#endif

// Without VNNI: vpmaddwd on bytes widened to 16 bits. A lane has two of a column's four products;
// neighbouring lanes are added at the end.
struct IntegerDot : IntegerTypes {
  using Input = std::int16_t;
  using Acc = Words::Vector;
  static constexpr int kParts = static_cast<int>(4 * kPanelColumns / sizeof(Words::Bytes));
  static constexpr int kRows = Words::kRows, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return Words::zero(); }
  [[gnu::always_inline]] static Acc weights(const std::uint8_t* from, int part) {
    return Words::widen(read<Words::Bytes>(from + static_cast<int>(sizeof(Words::Bytes)) * part));
  }
  [[gnu::always_inline]] static Acc inputs(const Input* from) {
    return Words::splat(read<std::int64_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, Acc w, Acc a) {
    return Words::multiply_add(acc, w, a);
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    constexpr int kSums = static_cast<int>(sizeof(Acc) / sizeof(std::int32_t)) / 2;
    for (int part = 0; part < kParts; ++part) {
      std::int32_t lanes[2 * kSums];
      std::memcpy(lanes, &acc[part], sizeof(lanes));
      for (int i = 0; i < kSums; ++i) to[kSums * part + i] = lanes[2 * i] + lanes[2 * i + 1];
    }
  }
};

#elif defined(__aarch64__)

// Both operands are signed here: weights are loaded without their zero point.
struct IntegerDot : IntegerTypes {
  using Input = std::int8_t;
  using Acc = int32x4_t;
  static constexpr int kParts = 4, kRows = 4, kVectors = 4;
  static constexpr std::int32_t kZero = 0;

  [[gnu::always_inline]] static Acc zero() { return vdupq_n_s32(0); }
  [[gnu::always_inline]] static int8x16_t weights(const std::uint8_t* from, int part) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from + 16 * part), vdupq_n_u8(0x80)));
  }
  [[gnu::always_inline]] static int8x16_t inputs(const Input* from) {
    return vreinterpretq_s8_s32(vdupq_n_s32(read<std::int32_t>(from)));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, int8x16_t w, int8x16_t a) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(acc, w, a);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(w, a));
    return vaddq_s32(acc, vpaddq_s32(low, high));
#endif
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    for (int part = 0; part < kParts; ++part) vst1q_s32(to + 4 * part, acc[part]);
  }
};

#else

struct IntegerDot : IntegerTypes {
  using Input = std::int8_t;
  struct Acc {
    std::int32_t lane[16];
  };
  struct Weights {
    std::uint8_t byte[64];
  };
  struct Four {
    std::int8_t byte[4];
  };
  static constexpr int kParts = 1, kRows = 1, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  static Acc zero() { return {}; }
  static Weights weights(const std::uint8_t* from, int /*part*/) { return read<Weights>(from); }
  static Four inputs(const Input* from) { return read<Four>(from); }
  static Acc multiply_add(Acc acc, const Weights& w, Four a) {
    for (int n = 0; n < 16; ++n) {
      for (int k = 0; k < 4; ++k) acc.lane[n] += w.byte[4 * n + k] * a.byte[k];
    }
    return acc;
  }
  static void store(const Acc* acc, std::int32_t* to) { std::memcpy(to, acc, sizeof(Acc)); }
};

#endif

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_INTEGER_DOT_H_
