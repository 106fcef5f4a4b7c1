// The parameters of the packed pooling on CUDA. Needs no CUDA: pooling.h adds the launch.
#ifndef MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_
#define MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_

#include <cstdint>
#include <string>

#include "common/operator_params.h"
#include "types.h"

namespace mbert::cuda {

// All pointers are to device memory, aligned to the size of an element (cu_seqlens: 4 bytes).
// Invalid offsets are harmless: see varlen_attention_params.h.
struct VarlenPoolingParams : mbert::VarlenPoolingParams {};

// Returns an empty string, or else what is wrong with the sizes. Reads no pointer.
std::string validate_shapes(const VarlenPoolingParams& params);

// The same for everything that the host can check: all but what is in the arrays.
std::string validate(const VarlenPoolingParams& params);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_
