// How one instruction set multiplies bytes and adds up the products in 32 bits, exactly.
//
// IntegerDot is a Dot of linear_kernel.h, and says besides
//   kZero        the weights' zero, as far as it is still in the sums
// Weights are 0 to 255, activations -127 to 127: no sum of two products exceeds 64,770, and none of
// 16 bits is ever formed, so that nothing saturates.
//
// Everything is in an anonymous namespace on purpose: see storage.h.
#ifndef MBERT_PLUGINS_CPU_INTEGER_DOT_H_
#define MBERT_PLUGINS_CPU_INTEGER_DOT_H_

#include <cstdint>
#include <cstring>

#include "linear_task.h"
#include "storage.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// The sums of neighbouring lanes, of all vectors one after the other.
template <int kParts, typename Acc>
[[gnu::always_inline]] inline void add_neighbours(const Acc* acc, std::int32_t* to) {
  constexpr int kSums = static_cast<int>(sizeof(Acc) / sizeof(std::int32_t)) / 2;
  for (int part = 0; part < kParts; ++part) {
    std::int32_t lanes[2 * kSums];
    std::memcpy(lanes, &acc[part], sizeof(lanes));
    for (int i = 0; i < kSums; ++i) to[kSums * part + i] = lanes[2 * i] + lanes[2 * i + 1];
  }
}

#if defined(__AVX512VNNI__)

// vpdpbusd: bytes without sign times bytes with one, four products a lane.
struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int8_t;
  using Acc = __m512i;
  static constexpr int kParts = 1, kRows = 8, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm512_setzero_si512(); }
  [[gnu::always_inline]] static __m512i weights(const std::uint8_t* from, int /*part*/) {
    return _mm512_loadu_si512(from);
  }
  [[gnu::always_inline]] static __m512i activations(const Activation* from) {
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

struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int8_t;
  using Acc = __m256i;
  static constexpr int kParts = 2, kRows = 4, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static __m256i weights(const std::uint8_t* from, int part) {
    return read<__m256i>(from + 32 * part);
  }
  [[gnu::always_inline]] static __m256i activations(const Activation* from) {
    return _mm256_set1_epi32(read<std::int32_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m256i w, __m256i a) {
    return _mm256_dpbusd_avx_epi32(acc, w, a);
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    std::memcpy(to, acc, 2 * sizeof(Acc));
  }
};

#elif defined(__AVX512BW__)

// vpmaddwd on bytes that are widened to 16 bits: a lane holds two of a column's four products,
// which are added at the end.
struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int16_t;
  using Acc = __m512i;
  static constexpr int kParts = 2, kRows = 8, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm512_setzero_si512(); }
  [[gnu::always_inline]] static __m512i weights(const std::uint8_t* from, int part) {
    return _mm512_cvtepu8_epi16(read<__m256i>(from + 32 * part));
  }
  [[gnu::always_inline]] static __m512i activations(const Activation* from) {
    return _mm512_set1_epi64(read<std::int64_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m512i w, __m512i a) {
    return _mm512_add_epi32(acc, _mm512_madd_epi16(w, a));
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    add_neighbours<kParts>(acc, to);
  }
};

#elif defined(__AVX2__)

struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int16_t;
  using Acc = __m256i;
  static constexpr int kParts = 4, kRows = 4, kVectors = 2;
  static constexpr std::int32_t kZero = kWeightZero;

  [[gnu::always_inline]] static Acc zero() { return _mm256_setzero_si256(); }
  [[gnu::always_inline]] static __m256i weights(const std::uint8_t* from, int part) {
    return _mm256_cvtepu8_epi16(read<__m128i>(from + 16 * part));
  }
  [[gnu::always_inline]] static __m256i activations(const Activation* from) {
    return _mm256_set1_epi64x(read<std::int64_t>(from));
  }
  [[gnu::always_inline]] static Acc multiply_add(Acc acc, __m256i w, __m256i a) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w, a));
  }
  [[gnu::always_inline]] static void store(const Acc* acc, std::int32_t* to) {
    add_neighbours<kParts>(acc, to);
  }
};

#elif defined(__aarch64__)

// Weights lose their zero on the way, since both factors have a sign here.
struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int8_t;
  using Acc = int32x4_t;
  static constexpr int kParts = 4, kRows = 4, kVectors = 4;
  static constexpr std::int32_t kZero = 0;

  [[gnu::always_inline]] static Acc zero() { return vdupq_n_s32(0); }
  [[gnu::always_inline]] static int8x16_t weights(const std::uint8_t* from, int part) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from + 16 * part), vdupq_n_u8(0x80)));
  }
  [[gnu::always_inline]] static int8x16_t activations(const Activation* from) {
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

struct IntegerDot {
  static constexpr WeightType kType = WeightType::kInt8;
  using Weight = std::uint8_t;
  using Sum = std::int32_t;
  using Activation = std::int8_t;
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
  static Four activations(const Activation* from) { return read<Four>(from); }
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
