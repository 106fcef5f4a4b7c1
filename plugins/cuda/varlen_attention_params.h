// The parameters of the packed attention on CUDA, and what the host can say about them. Needs no
// CUDA: varlen_attention.h adds the launch.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "types.h"

namespace mbert::cuda {

// The blocks of a grid along y.
constexpr std::int64_t kMaxHeads = 65535;

// Where keys are rotated; the results have the same bits.
enum class KeyRotation {
  kFused,      // inside the attention kernel, by every block of queries that loads the key
  kWorkspace,  // once, by a kernel that runs before it and writes them to the workspace
};

// All pointers are to device memory, aligned to 16 bytes (cu_seqlens: 4).
struct VarlenAttentionParams {
  ElementType type = ElementType::kFloat32;  // of qkv and context
  // [tokens, 3 * num_heads * head_dim]: of every token all query heads, all key heads, all value
  // heads.
  const void* qkv = nullptr;
  std::int64_t tokens = 0;
  // [sequences + 1]: offsets from 0, not decreasing; the last may be less than tokens. The host
  // never reads them. Others do no harm: the first is taken for 0, the rest are clamped to
  // [0, tokens], and a sequence that ends before it begins is empty.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  // [max_position, head_dim]: cosines, then sines; a token's position is its offset in its
  // sequence. Positions from max_position on take the last row.
  const float* rope = nullptr;
  std::int64_t max_position = 0;
  std::int64_t num_heads = 0;  // at most kMaxHeads
  std::int64_t head_dim = 0;   // 32, 64 or 128
  float scale = 0.0f;
  // -1: a token sees its whole sequence; w >= 0: the tokens at most w away.
  std::int64_t window = -1;
  // [tokens, num_heads * head_dim]; rows from the last offset on become zeros.
  void* context = nullptr;
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

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_PARAMS_H_
