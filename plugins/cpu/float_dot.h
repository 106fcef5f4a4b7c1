// The product of floats on one instruction set: a step takes one input of 16 columns.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_FLOAT_DOT_H_
#define MBERT_PLUGINS_CPU_FLOAT_DOT_H_

#include "linear_layout.h"
#include "simd.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// Vectors of float sums: the members of a Dot that do not depend on the type of the weights.
template <int kLanes>
struct FloatSums {
  using Sum = float;
  using Acc = typename Simd<kLanes>::Float;
  static constexpr int kParts = static_cast<int>(kPanelColumns) / kLanes;

  [[gnu::always_inline]] static Acc zero() { return Acc{}; }
  [[gnu::always_inline]] static void store(const Acc* acc, Sum* to) {
    for (int part = 0; part < kParts; ++part) Simd<kLanes>::store(to + part * kLanes, acc[part]);
  }
};

template <int kLanes>
struct FloatDot : FloatSums<kLanes> {
  using Float = typename Simd<kLanes>::Float;

  static constexpr WeightType kType = WeightType::kFloat32;
  using Weight = float;
  using Input = float;
#if defined(__AVX512F__)
  static constexpr int kRows = 8, kVectors = 2;
#elif defined(__AVX2__)
  static constexpr int kRows = 6, kVectors = 2;
#elif defined(__aarch64__)
  static constexpr int kRows = 6, kVectors = 4;
#else
  static constexpr int kRows = 4, kVectors = 2;
#endif

  [[gnu::always_inline]] static Float weights(const Weight* from, int part) {
    return Simd<kLanes>::load(from + part * kLanes);
  }
  [[gnu::always_inline]] static float inputs(const Input* from) { return *from; }
  [[gnu::always_inline]] static Float multiply_add(Float acc, Float w, float a) {
    return acc + w * a;
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_FLOAT_DOT_H_
