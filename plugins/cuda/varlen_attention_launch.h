// The launch of the attention kernels, for one element type and machine.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_

#include <cuda_runtime_api.h>

#include "varlen_attention_params.h"

namespace mbert::cuda {

// params must be valid. kCapability is 75 for devices of compute capability 7.x, 80 for newer ones.
// Defined in varlen_attention.cu, which is compiled once for each combination.
template <class T, int kCapability>
cudaError_t launch_varlen_attention(const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_
