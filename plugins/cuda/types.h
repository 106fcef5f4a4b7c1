// Types in the public interfaces of the CUDA kernels.
#ifndef MBERT_PLUGINS_CUDA_TYPES_H_
#define MBERT_PLUGINS_CUDA_TYPES_H_

#include <cstdint>

#include "common/operator_types.h"

namespace mbert::cuda {

using mbert::ElementType;
using mbert::PoolingMode;

// The maximum of tokens, sequences and positions: sums of a few such numbers fit in an int.
constexpr std::int64_t kMaxRows = std::int64_t{1} << 29;

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_TYPES_H_
