// The attention kernels for one element type, MBERT_CUDA_ELEMENT, on one machine,
// MBERT_CUDA_CAPABILITY. The build compiles this file once for each combination.
#include "arch/ptx.cuh"
#include "launch.h"
#include "varlen_attention_kernel.h"
#include "varlen_attention_launch.h"
#include "varlen_attention_schedule.h"

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

class Launcher : public StreamLauncher {
 public:
  using StreamLauncher::StreamLauncher;

  template <class Tiling>
  void rotate_keys(const LaunchShape& shape, const Arguments<Tiling>& arguments) {
    launch_next(rotate_keys_kernel<Tiling>, shape, arguments);
  }

  template <class Tiling, KeyRotation kRotation>
  void attend(const LaunchShape& shape, const Arguments<Tiling>& arguments) {
    launch_next(varlen_attention_kernel<Tiling, kRotation>, shape, arguments);
  }
};

}  // namespace

template <class T, int kCapability>
cudaError_t launch_varlen_attention(const VarlenAttentionParams& params, cudaStream_t stream) {
  Launcher launcher(stream);
  with_tiling<T, kCapability>(params.head_dim,
                              [&](auto tiling) { schedule<decltype(tiling)>(params, launcher); });
  return launcher.error();
}

template cudaError_t launch_varlen_attention<MBERT_CUDA_ELEMENT, MBERT_CUDA_CAPABILITY>(
    const VarlenAttentionParams& params, cudaStream_t stream);

}  // namespace mbert::cuda
