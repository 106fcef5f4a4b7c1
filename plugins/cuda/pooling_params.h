// The parameters of the packed pooling on CUDA. Needs no CUDA: pooling.h adds the launch.
#ifndef MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_
#define MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_

#include <cstdint>
#include <string>

#include "types.h"

namespace mbert::cuda {

// All pointers are to device memory, aligned to the size of an element.
struct VarlenPoolingParams {
  ElementType type = ElementType::kFloat32;  // of hidden and pooled
  const void* hidden = nullptr;              // [tokens, columns]
  std::int64_t tokens = 0;
  std::int64_t columns = 0;
  // [sequences + 1]: as for the attention.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  PoolingMode mode = PoolingMode::kMean;
  void* pooled = nullptr;  // [sequences, columns]; the row of an empty sequence becomes zeros
};

// Returns an empty string, or else what is wrong with the sizes. Reads no pointer.
std::string validate_shapes(const VarlenPoolingParams& params);

// The same for everything that the host can check: all but what is in the arrays.
std::string validate(const VarlenPoolingParams& params);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_
