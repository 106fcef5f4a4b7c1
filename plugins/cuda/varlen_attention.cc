#include "varlen_attention.h"

#include "device.h"
#include "varlen_attention_launch.h"
#include "varlen_attention_schedule.h"

namespace mbert::cuda {
namespace {

// Returns whether this build has the kernels for a machine.
constexpr bool is_built(int machine) {
#if defined(MBERT_CUDA_HAS_75)
  if (machine == 75) return true;
#endif
#if defined(MBERT_CUDA_HAS_80)
  if (machine == 80) return true;
#endif
  return false;
}

}  // namespace

cudaError_t launch(const VarlenAttentionParams& params, cudaStream_t stream) {
  if (!validate(params).empty()) return cudaErrorInvalidValue;
  if (params.tokens == 0) return cudaSuccess;
  int capability = 0;
  const cudaError_t error = get_compute_capability(&capability);
  if (error != cudaSuccess) return error;
  if (!validate_device(params.type, capability).empty()) return cudaErrorNotSupported;
  return with_machine(params.type, capability, [&](auto element, auto machine) {
    if constexpr (is_built(machine())) {
      return launch_varlen_attention<decltype(element), machine()>(params, stream);
    } else {
      return cudaErrorNoKernelImageForDevice;
    }
  });
}

}  // namespace mbert::cuda
