// Packed (variable-length) attention with rotary positions and an optional sliding window, as
// ModernBERT needs it. Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_
#define MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_

#include <cstdint>
#include <string>

#include "isa.h"
#include "types.h"

namespace mbert::cpu {

struct VarlenAttentionParams {
  ElementType type = ElementType::kFloat32;  // of qkv and context
  // [tokens, 3 * num_heads * head_dim]: of every token all query heads, all key heads, all value
  // heads.
  const void* qkv = nullptr;
  std::int64_t tokens = 0;
  // [sequences + 1]: offsets from 0, not decreasing; the last may be less than tokens.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  // [max_position, head_dim]: cosines, then sines; a token's position is its offset in its
  // sequence.
  const float* rope = nullptr;
  std::int64_t max_position = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_dim = 0;  // a multiple of 16, 16 to 256
  float scale = 0.0f;
  // -1: a token sees its whole sequence; w >= 0: the tokens at most w away.
  std::int64_t window = -1;
  // [tokens, num_heads * head_dim]; rows from the last offset on become zeros.
  void* context = nullptr;
};

// Returns an empty string, or else what is wrong with num_heads, window or scale.
std::string validate_attributes(const VarlenAttentionParams& params);

// The same for all parameters. Reads cu_seqlens, and no other array.
std::string validate(const VarlenAttentionParams& params);

// Computes params.context. The parameters have to be valid. A sequence's result has the same bits
// at any offset, in any batch, on any number of threads; another isa may round differently.
void run(const VarlenAttentionParams& params, Isa isa, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_VARLEN_ATTENTION_H_
