// Packed (variable-length) attention with rotary positions and an optional sliding window, on a
// CUDA device. Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_

#include <cuda_runtime_api.h>

#include "varlen_attention_params.h"

namespace mbert::cuda {

// Computes params.context on the current device, asynchronously: the host reads nothing back, waits
// for nothing and allocates nothing, and the grid depends on shapes alone, so that a launch
// captures into a CUDA graph. A sequence's result has the same bits at any offset and in any batch.
//
// Returns cudaErrorInvalidValue for parameters that validate() finds fault with,
// cudaErrorNotSupported for a type that validate_device() refuses on the current device,
// cudaErrorNoKernelImageForDevice for a device that this build has no kernels for, and otherwise
// the result of the launch.
cudaError_t launch(const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_
