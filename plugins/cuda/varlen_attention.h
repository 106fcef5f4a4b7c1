// Packed (variable-length) attention with rotary positions and an optional sliding window, on a
// CUDA device. Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_

#include <cuda_runtime_api.h>

#include "varlen_attention_params.h"

namespace mbert::cuda {

// Computes params.context on the current device, asynchronously. The host does not read back, wait
// or allocate, and the grid depends on shapes alone, so that a launch can be captured into a CUDA
// graph. A sequence's result has the same bits at any offset in any batch.
//
// Returns cudaErrorInvalidValue for parameters that validate() rejects, cudaErrorNotSupported for a
// type that validate_device() rejects on the current device, cudaErrorNoKernelImageForDevice if
// this build has no kernels for the device, otherwise the result of the launch.
cudaError_t launch(const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_H_
