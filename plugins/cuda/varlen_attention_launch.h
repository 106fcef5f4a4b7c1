// The launches of the packed attention, one for each element type and machine.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_

#include <cuda_runtime_api.h>

#include "varlen_attention_params.h"

namespace mbert::cuda {

// params have to be valid, and the device's compute capability of kCapability's family: 75 for 7.x,
// 80 for everything after. Defined by varlen_attention.cu, which is compiled once for each.
template <class T, int kCapability>
cudaError_t launch_varlen_attention(const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_LAUNCH_H_
