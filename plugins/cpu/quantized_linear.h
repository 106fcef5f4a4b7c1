// A linear layer with 8-bit weights on rows of floats that are quantized on the way. Independent of
// any inference runtime.
#ifndef MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_H_
#define MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "isa.h"
#include "quantized_linear_layout.h"
#include "types.h"

namespace mbert::cpu {

struct QuantizedLinearParams {
  const float* x = nullptr;  // [tokens, inputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;  // a multiple of 16
  // [outputs / 16, inputs / 4, 16, 4]: for 16 outputs and 4 inputs at a time, the weights around
  // 128.
  const std::uint8_t* weight = nullptr;
  std::int64_t outputs = 0;             // a multiple of 16; of 32 where gated
  const float* weight_scale = nullptr;  // [outputs]
  const float* bias = nullptr;          // [outputs]
  const float* norm_weight = nullptr;   // [inputs]: rows are normalized first; null: they are not
  const float* norm_bias = nullptr;     // [inputs], with norm_weight
  float epsilon = 0.0f;                 // of the normalization
  const float* residual = nullptr;      // [tokens, columns()], added; null: nothing is
  // The outputs are panels of 16 values and of 16 gates by turns: the result is
  // activation(values) * gates.
  bool gated = false;
  Activation activation = Activation::kGelu;
  float* out = nullptr;  // [tokens, columns()]

  std::int64_t columns() const { return gated ? outputs / 2 : outputs; }
};

// Returns an empty string, or else what is wrong with the shapes.
std::string validate(const QuantizedLinearParams& params);

// Bytes of scratch that run() needs.
std::size_t scratch_bytes(const QuantizedLinearParams& params, Isa isa);

// Computes params.out. The parameters have to be valid; `scratch` is aligned to 64 bytes. A row's
// result has the same bits at any place, in any batch, on any number of threads. A row that holds
// what is not finite gives nothing finite.
void run(const QuantizedLinearParams& params, Isa isa, void* scratch,
         const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_H_
