// The kernels of the packed attention for one element type, MBERT_CUDA_ELEMENT, on one machine,
// MBERT_CUDA_CAPABILITY. The build compiles this file once for each that it ships.
#include "hardware/ptx.cuh"
#include "launch.h"
#include "varlen_attention_kernel.h"
#include "varlen_attention_launch.h"

namespace mbert::cuda {
namespace {

template <class Tiling>
using Arguments = VarlenAttentionArguments<typename Tiling::Element>;

template <class Tiling, KeyRotation kRotation>
__global__ void __launch_bounds__(Tiling::kThreads, Tiling::kBlocks)
    varlen_attention_kernel(const __grid_constant__ Arguments<Tiling> arguments) {
  Ptx<Tiling::kCapability> machine;
  varlen_attention<Tiling, kRotation>(machine, arguments);
}

template <class Tiling>
__global__ void __launch_bounds__(Tiling::kThreads)
    rotate_keys_kernel(const __grid_constant__ Arguments<Tiling> arguments) {
  Ptx<Tiling::kCapability> machine;
  rotate_keys<Tiling>(machine, arguments);
}

}  // namespace

template <class T, int kCapability>
cudaError_t launch_varlen_attention(const VarlenAttentionParams& params, cudaStream_t stream) {
  return with_tiling<T, kCapability>(params.head_dim, [&](auto tiling) {
    using Tiling = decltype(tiling);
    const Arguments<Tiling> arguments = make_arguments<T>(params);
    LaunchShape shape = {Tiling::grid_x(arguments.tokens, arguments.sequences), arguments.num_heads,
                         Tiling::kThreads, 0};
    auto attention = varlen_attention_kernel<Tiling, KeyRotation::kFused>;
    if (params.rotation == KeyRotation::kWorkspace) {
      const cudaError_t error = launch_kernel(rotate_keys_kernel<Tiling>, shape, arguments, stream);
      if (error != cudaSuccess) return error;
      attention = varlen_attention_kernel<Tiling, KeyRotation::kWorkspace>;
    }
    shape.shared_bytes = Tiling::kSharedBytes;
    return launch_kernel(attention, shape, arguments, stream);
  });
}

template cudaError_t launch_varlen_attention<MBERT_CUDA_ELEMENT, MBERT_CUDA_CAPABILITY>(
    const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda
