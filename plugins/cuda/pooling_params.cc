#include "pooling_params.h"

#include "validation.h"

namespace mbert::cuda {

std::string validate_shapes(const VarlenPoolingParams& params) {
  return validate_sizes({
      {"tokens", params.tokens, kMaxRows},
      {"sequences (one less than the size of cu_seqlens)", params.sequences, kMaxRows},
      // A grid has at most 65,535 blocks along y, of 32 columns each.
      {"columns", params.columns, 65535 * 32},
  });
}

std::string validate(const VarlenPoolingParams& params) {
  const std::string problem = validate_shapes(params);
  if (!problem.empty()) return problem;
  const bool has_output = params.sequences > 0 && params.columns > 0;
  const int alignment = static_cast<int>(element_size(params.type));
  return validate_pointers({
      {"hidden", params.hidden, alignment, has_output && params.tokens > 0},
      {"cu_seqlens", params.cu_seqlens, 4, has_output},
      {"pooled", params.pooled, alignment, has_output},
  });
}

}  // namespace mbert::cuda
