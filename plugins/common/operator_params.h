// The parameters of the packed operators that the CPU and CUDA kernels share. Each device derives a
// struct of the same name, which says where the pointers have to point.
#ifndef MBERT_PLUGINS_COMMON_OPERATOR_PARAMS_H_
#define MBERT_PLUGINS_COMMON_OPERATOR_PARAMS_H_

#include <cstdint>

#include "common/operator_types.h"

namespace mbert {

struct VarlenAttentionParams {
  ElementType type = ElementType::kFloat32;  // of qkv and context
  // [tokens, 3 * num_heads * head_dim]: a row holds all query heads, all key heads, all value
  // heads.
  const void* qkv = nullptr;
  std::int64_t tokens = 0;
  // [sequences + 1]: offsets from 0, non-decreasing; the last may be less than tokens.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  // [max_position, head_dim]: cosines, then sines. A token's position is its offset in its
  // sequence.
  const float* rope = nullptr;
  std::int64_t max_position = 0;
  std::int64_t num_heads = 0;
  std::int64_t head_dim = 0;
  float scale = 0.0f;  // of the scores
  // -1: a token attends to its whole sequence; w >= 0: to tokens at a distance of at most w.
  std::int64_t window = -1;
  // [tokens, num_heads * head_dim]; rows after the last offset are set to zero.
  void* context = nullptr;
};

struct VarlenPoolingParams {
  ElementType type = ElementType::kFloat32;  // of hidden and pooled
  const void* hidden = nullptr;              // [tokens, columns]
  std::int64_t tokens = 0;
  std::int64_t columns = 0;
  // [sequences + 1]: offsets from 0, non-decreasing; the last may be less than tokens.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  PoolingMode mode = PoolingMode::kMean;
  void* pooled = nullptr;  // [sequences, columns]; the row of an empty sequence is set to zero
};

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_OPERATOR_PARAMS_H_
