#include "varlen_attention_params.h"

#include "validation.h"

namespace mbert::cuda {

std::string validate_attributes(const VarlenAttentionParams& params) {
  return validate_attention_attributes(params.num_heads, kMaxHeads, params.scale, params.window);
}

std::string validate_shapes(const VarlenAttentionParams& params) {
  std::string problem = validate_attributes(params);
  if (!problem.empty()) return problem;
  if (params.head_dim != 32 && params.head_dim != 64 && params.head_dim != 128) {
    return "head_dim (the columns of rope) is " + std::to_string(params.head_dim) +
           "; the CUDA kernels are for 32, 64 and 128";
  }
  problem = validate_sizes({
      {"tokens", params.tokens, kMaxRows},
      {"sequences (one less than the size of cu_seqlens)", params.sequences, kMaxRows},
      {"max_position (the rows of rope)", params.max_position, kMaxRows},
  });
  if (!problem.empty()) return problem;
  if (params.max_position == 0 && params.sequences > 0 && params.tokens > 0) {
    return "rope has no rows; it has to have one for each position, thus at least 1";
  }
  return {};
}

std::string validate(const VarlenAttentionParams& params) {
  const std::string problem = validate_shapes(params);
  if (!problem.empty()) return problem;
  const bool has_tokens = params.tokens > 0;
  const bool has_sequences = has_tokens && params.sequences > 0;
  return validate_pointers({
      {"qkv", params.qkv, 16, has_tokens},
      {"cu_seqlens", params.cu_seqlens, 4, has_sequences},
      {"rope", params.rope, 16, has_sequences},
      {"context", params.context, 16, has_tokens},
      {"workspace", params.workspace, 16, workspace_bytes(params) > 0},
  });
}

std::string capability_text(int compute_capability) {
  return "the GPU's compute capability is " + std::to_string(compute_capability / 10) + "." +
         std::to_string(compute_capability % 10);
}

std::string validate_device(ElementType type, int compute_capability) {
  const std::string found = capability_text(compute_capability);
  if (compute_capability < 75) return found + "; the CUDA kernels need 7.5 or newer";
  if (type == ElementType::kBFloat16 && compute_capability < 80) {
    return found + ", and bfloat16 needs 8.0 or newer; use float16 or float32";
  }
  return {};
}

KeyRotation preferred_rotation(std::int64_t window) {
  // Twice ModernBERT's window: five tiles of 64 keys contain the windows of a block of 64 queries.
  constexpr std::int64_t kWidest = 128;
  return window >= 0 && window <= kWidest ? KeyRotation::kFused : KeyRotation::kWorkspace;
}

std::size_t workspace_bytes(const VarlenAttentionParams& params) {
  if (params.rotation == KeyRotation::kFused) return 0;
  return static_cast<std::size_t>(params.tokens * params.num_heads * params.head_dim *
                                  element_size(params.type));
}

}  // namespace mbert::cuda
