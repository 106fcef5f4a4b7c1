// What the host hands to the kernels of the packed attention.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_ARGUMENTS_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_ARGUMENTS_H_

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "varlen_attention_params.h"

namespace mbert::cuda {

// The arrays are those of VarlenAttentionParams.
template <class T>
struct VarlenAttentionArguments {
  const T* qkv;
  const std::int32_t* cu_seqlens;
  const float* rope;
  T* rotated_keys;  // the workspace: [tokens, num_heads * head_dim]
  T* context;
  int tokens;
  int sequences;
  int max_position;
  int num_heads;
  int window;        // not negative: no limit is a window as wide as the tokens
  float scale;       // of scores whose softmax takes powers of 2; positive
  float query_sign;  // what the scale lost
};

// The parameters have to be valid. T is the one that params.type names.
template <class T>
VarlenAttentionArguments<T> make_arguments(const VarlenAttentionParams& params) {
  VarlenAttentionArguments<T> arguments;
  arguments.qkv = static_cast<const T*>(params.qkv);
  arguments.cu_seqlens = params.cu_seqlens;
  arguments.rope = params.rope;
  arguments.rotated_keys = static_cast<T*>(params.workspace);
  arguments.context = static_cast<T*>(params.context);
  arguments.tokens = static_cast<int>(params.tokens);
  arguments.sequences = static_cast<int>(params.sequences);
  arguments.max_position = static_cast<int>(params.max_position);
  arguments.num_heads = static_cast<int>(params.num_heads);
  arguments.window =
      static_cast<int>(params.window < 0 ? params.tokens : std::min(params.window, params.tokens));
  // The largest score has to be the largest scaled score, and not even a scale of 0 may turn the
  // -inf of a masked key into NaN.
  arguments.scale = std::max(std::fabs(params.scale) * kLog2E, FLT_MIN);
  arguments.query_sign = params.scale < 0.0f ? -1.0f : 1.0f;
  return arguments;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_ARGUMENTS_H_
