#include "varlen_attention.h"

#include "device.h"
#include "hardware/types.h"
#include "varlen_attention_launch.h"

namespace mbert::cuda {
cudaError_t launch(const VarlenAttentionParams& params, cudaStream_t stream) {
  if (!validate(params).empty()) return cudaErrorInvalidValue;
  if (params.tokens == 0) return cudaSuccess;
  int capability = 0;
  const cudaError_t error = get_compute_capability(&capability);
  if (error != cudaSuccess) return error;
  if (!validate_device(params.type, capability).empty()) return cudaErrorNotSupported;
#if defined(MBERT_CUDA_HAS_75)
  if (capability < 80) {
    const auto kernel = params.type == ElementType::kFloat32 ? launch_varlen_attention<float, 75>
                                                             : launch_varlen_attention<Float16, 75>;
    return kernel(params, stream);
  }
#endif
#if defined(MBERT_CUDA_HAS_80)
  if (capability >= 80) {
    const auto kernel = params.type == ElementType::kFloat32 ? launch_varlen_attention<float, 80>
                        : params.type == ElementType::kFloat16
                            ? launch_varlen_attention<Float16, 80>
                            : launch_varlen_attention<BFloat16, 80>;
    return kernel(params, stream);
  }
#endif
  return cudaErrorNoKernelImageForDevice;
}

}  // namespace mbert::cuda
