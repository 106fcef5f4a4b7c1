// The activation functions of ModernBERT's gated MLP, on vectors of floats.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_ACTIVATION_H_
#define MBERT_PLUGINS_CPU_ACTIVATION_H_

#include "common/operator_types.h"
#include "simd.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

template <int kLanes>
struct Activations {
  using V = Simd<kLanes>;
  using Float = typename V::Float;

  // exp(-magnitude) for magnitude >= 0; NaN stays NaN.
  [[gnu::always_inline]] static Float decay(Float magnitude) {
    return V::exp2(magnitude * -kLog2E);
  }

  [[gnu::always_inline]] static Float magnitude(Float x) { return x < 0.0f ? -x : x; }

  // Exact GELU, x * Phi(x), with an error of at most 1.5e-7 * |x|. The approximation of erf is
  // formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions.
  [[gnu::always_inline]] static Float gelu(Float x) {
    const Float z = magnitude(x) * 0.70710678118654752f;
    const Float t = 1.0f / (z * 0.3275911f + 1.0f);
    Float polynomial = t * 1.061405429f - 1.453152027f;
    polynomial = polynomial * t + 1.421413741f;
    polynomial = polynomial * t - 0.284496736f;
    polynomial = polynomial * t + 0.254829592f;
    const Float tail = polynomial * t * decay(z * z) * 0.5f;
    return x * (x < 0.0f ? tail : 1.0f - tail);
  }

  // x / (1 + exp(-slope)).
  [[gnu::always_inline]] static Float sigmoid_times(Float x, Float slope) {
    const Float e = decay(magnitude(slope));
    return x * (slope < 0.0f ? e : V::splat(1.0f)) / (e + 1.0f);
  }

  template <Activation kActivation>
  [[gnu::always_inline]] static Float apply(Float x) {
    if constexpr (kActivation == Activation::kGelu) return gelu(x);
    if constexpr (kActivation == Activation::kSilu) return sigmoid_times(x, x);
    if constexpr (kActivation == Activation::kRelu) return x < 0.0f ? V::splat(0.0f) : x;
    // 1 + tanh(u) = 2 / (1 + exp(-2 u)), u = sqrt(2 / pi) * (x + 0.044715 x^3).
    return sigmoid_times(x, x * (x * x * 0.044715f + 1.0f) * 1.5957691216057308f);
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_ACTIVATION_H_
