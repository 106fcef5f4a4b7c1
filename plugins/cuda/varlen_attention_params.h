// The parameters of packed attention on CUDA, the checks on the host, and the arguments of the
// kernels. Needs no CUDA: varlen_attention.h has the launch.
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

// The maximum number of blocks of a grid along y.
constexpr std::int64_t kMaxHeads = 65535;

// Where keys are rotated. The results have the same bits.
enum class KeyRotation {
  kFused,      // in the attention kernel, by each block that loads the key
  kWorkspace,  // once, by a kernel that writes them to the workspace
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

// Checks num_heads, window and scale. Returns an empty string, or else an error message.
std::string validate_attributes(const VarlenAttentionParams& params);

// Checks these and all sizes.
std::string validate_shapes(const VarlenAttentionParams& params);

// Checks all that the host can check: sizes and pointers, but not the contents of the arrays.
std::string validate(const VarlenAttentionParams& params);

// Returns "the GPU's compute capability is 8.9" for 89.
std::string capability_text(int compute_capability);

// Checks whether a GPU of a compute capability (10 * major + minor) supports the type. Returns an
// empty string, or else an error message.
std::string validate_device(ElementType type, int compute_capability);

// Returns the rotation to use without a measurement on real sequences. With a window of usual
// width, about three blocks load and rotate a key, which costs less than another kernel that reads
// and writes all keys. Without a window, every block of the sequence would rotate it.
KeyRotation preferred_rotation(std::int64_t window);

// Returns the size of the workspace: 0, or that of the rotated keys, [tokens, num_heads *
// head_dim].
std::size_t workspace_bytes(const VarlenAttentionParams& params);

// The arguments of the kernels. The arrays are those of VarlenAttentionParams.
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
  int window;        // not negative: without a limit it is the number of tokens
  float scale;       // positive factor of the scores, for powers of two
  float query_sign;  // the sign of the scale: 1 or -1
};

// The parameters must be valid, and T the type that params.type names.
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
  // A positive scale keeps the order of the scores; a scale of 0 would turn the -inf of a masked
  // key into NaN.
  arguments.scale = std::max(std::fabs(params.scale) * kLog2E, FLT_MIN);
  arguments.query_sign = params.scale < 0.0f ? -1.0f : 1.0f;
  return arguments;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_
