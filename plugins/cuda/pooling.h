// Pooling of packed sequences on a CUDA device: one row for each. Independent of any inference
// runtime.
#ifndef MBERT_PLUGINS_CUDA_POOLING_H_
#define MBERT_PLUGINS_CUDA_POOLING_H_

#include <cuda_runtime_api.h>

#include "pooling_params.h"

namespace mbert::cuda {

// Computes params.pooled on the current device, asynchronously, under the same conditions as the
// attention. Sums are float32. Returns cudaErrorInvalidValue for parameters that validate()
// rejects, otherwise the result of the launch.
cudaError_t launch(const VarlenPoolingParams& params, cudaStream_t stream);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_POOLING_H_
