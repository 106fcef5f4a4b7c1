// A linear layer with an optional LayerNorm before it, and a residual sum or gates after it.
// Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CPU_LINEAR_H_
#define MBERT_PLUGINS_CPU_LINEAR_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "isa.h"
#include "linear_layout.h"
#include "types.h"

namespace mbert::cpu {

struct LinearParams {
  const float* x = nullptr;  // [tokens, inputs]
  std::int64_t tokens = 0;
  std::int64_t inputs = 0;  // a multiple of 16
  // Rows of x are multiplied in the same type: float32, rounded to bfloat16, or quantized to 8 bits
  // with a scale for each row.
  WeightType weight_type = WeightType::kFloat32;
  const void* weight = nullptr;         // panels: see linear_layout.h; int8: zero point 128
  std::int64_t outputs = 0;             // a multiple of 16; of 32 if gated
  const float* weight_scale = nullptr;  // [outputs]; int8 only
  const float* bias = nullptr;          // [outputs]
  const float* norm_weight = nullptr;   // [inputs]; null: no normalization
  const float* norm_bias = nullptr;     // [inputs], with norm_weight
  float epsilon = 0.0f;                 // of the normalization
  const float* residual = nullptr;      // [tokens, columns()], added; or null
  // Panels of 16 values and panels of 16 gates alternate: the result is activation(values) * gates.
  bool gated = false;
  Activation activation = Activation::kGelu;
  float* out = nullptr;  // [tokens, columns()]

  std::int64_t columns() const { return gated ? outputs / 2 : outputs; }
};

// Checks the shapes. Returns an empty string, or else an error message.
std::string validate(const LinearParams& params);

// Returns the bytes of scratch memory that run() needs.
std::size_t scratch_bytes(const LinearParams& params, Isa isa);

// Computes params.out. The parameters must be valid, and `scratch` aligned to 64 bytes. A row's
// result has the same bits at any position, in any batch, on any number of threads. A row with an
// infinity or NaN has no finite result.
void run(const LinearParams& params, Isa isa, void* scratch, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_H_
