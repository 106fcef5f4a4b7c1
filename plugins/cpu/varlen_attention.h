// Packed (variable-length) attention with rotary positions and an optional sliding window.
// Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_
#define MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_

#include <cstdint>
#include <string>

#include "common/operator_params.h"
#include "isa.h"
#include "types.h"

namespace mbert::cpu {

// head_dim is a multiple of 16, from 16 to 256.
struct VarlenAttentionParams : mbert::VarlenAttentionParams {};

// Checks num_heads, window and scale. Returns an empty string, or else an error message.
std::string validate_attributes(const VarlenAttentionParams& params);

// Checks all parameters; reads cu_seqlens, but no other array.
std::string validate(const VarlenAttentionParams& params);

// Computes params.context. The parameters must be valid. A sequence's result has the same bits at
// any offset, in any batch, on any number of threads; instruction sets may round differently.
void run(const VarlenAttentionParams& params, Isa isa, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_
