// The parameters of pooling on CUDA, and the checks on the host. Needs no CUDA: pooling.h has the
// launch.
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

// Checks the sizes. Returns an empty string, or else an error message.
std::string validate_shapes(const VarlenPoolingParams& params);

// Checks all that the host can check: sizes and pointers, but not the contents of the arrays.
std::string validate(const VarlenPoolingParams& params);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_POOLING_PARAMS_H_
