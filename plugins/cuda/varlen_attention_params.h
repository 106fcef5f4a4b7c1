// The parameters of the packed attention on CUDA, and what the host can say about them. Needs no
// CUDA: varlen_attention.h adds the launch.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

#include "common/operator_params.h"
#include "types.h"

namespace mbert::cuda {

// The blocks of a grid along y.
constexpr std::int64_t kMaxHeads = 65535;

// Where keys are rotated; the results have the same bits.
enum class KeyRotation {
  kFused,      // inside the attention kernel, by every block of queries that loads the key
  kWorkspace,  // once, by a kernel that runs before it and writes them to the workspace
};

// All pointers are to device memory, aligned to 16 bytes (cu_seqlens: 4). num_heads is at most
// kMaxHeads, and head_dim 32, 64 or 128.
//
// The host never reads cu_seqlens. Invalid offsets are harmless: the first is taken for 0, the
// others are clamped to [0, tokens], and a sequence that ends before it begins is empty. Positions
// beyond the table take its last row.
struct VarlenAttentionParams : mbert::VarlenAttentionParams {
  KeyRotation rotation = KeyRotation::kFused;
  void* workspace = nullptr;  // workspace_bytes()
};

// Returns an empty string, or else what is wrong with num_heads, window or scale.
std::string validate_attributes(const VarlenAttentionParams& params);

// The same for these and all sizes. Reads no pointer.
std::string validate_shapes(const VarlenAttentionParams& params);

// The same for everything that the host can check: all but what is in the arrays.
std::string validate(const VarlenAttentionParams& params);

// "the GPU's compute capability is 8.9", of 89.
std::string capability_text(int compute_capability);

// Returns an empty string, or else why a GPU of that compute capability (10 * major + minor: 75,
// 80, 89, 120) cannot compute in that type.
std::string validate_device(ElementType type, int compute_capability);

// The rotation to take when nobody has timed both on real sequences. Within a window of usual width
// a key is loaded, and thus rotated, by some three blocks of queries, which costs less than another
// kernel that writes and reads all keys. Without one it is loaded by every block of its sequence.
KeyRotation preferred_rotation(std::int64_t window);

// Size of the workspace: 0, or that of the rotated keys, [tokens, num_heads * head_dim] of type.
std::size_t workspace_bytes(const VarlenAttentionParams& params);

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

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_
