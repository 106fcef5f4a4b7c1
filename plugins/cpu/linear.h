// A linear layer, with what stands before it (a LayerNorm) and after it (a residual sum, gates).
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
  // Rows are multiplied as they are (float32), rounded to bfloat16, or as integers of 8 bits with a
  // scale for each row.
  WeightType weight_type = WeightType::kFloat32;
  const void* weight = nullptr;         // panels: linear_layout.h; of 8 bits: around 128
  std::int64_t outputs = 0;             // a multiple of 16; of 32 where gated
  const float* weight_scale = nullptr;  // [outputs], of 8-bit weights only
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
std::string validate(const LinearParams& params);

// Bytes of scratch that run() needs.
std::size_t scratch_bytes(const LinearParams& params, Isa isa);

// Computes params.out. The parameters have to be valid; `scratch` is aligned to 64 bytes. A row's
// result has the same bits at any place, in any batch, on any number of threads. A row that holds
// what is not finite gives nothing finite.
void run(const LinearParams& params, Isa isa, void* scratch, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_H_
