#include "hardware/ptx.cuh"
#include "launch.h"
#include "pooling.h"
#include "pooling_kernel.h"

namespace mbert::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(VarlenPoolingTiling::kThreads)
    varlen_pooling_kernel(const __grid_constant__ VarlenPoolingArguments<T> arguments) {
  Ptx<75> machine;  // nothing here would gain from newer instructions
  varlen_pooling(machine, arguments);
}

template <class T>
cudaError_t launch_pooling(const VarlenPoolingParams& params, cudaStream_t stream) {
  using Tiling = VarlenPoolingTiling;
  const VarlenPoolingArguments<T> arguments = make_arguments<T>(params);
  const LaunchShape shape = {Tiling::grid_x(arguments.sequences), Tiling::grid_y(arguments.columns),
                             Tiling::kThreads, Tiling::kSharedBytes};
  return launch_kernel(varlen_pooling_kernel<T>, shape, arguments, stream);
}

}  // namespace

cudaError_t launch(const VarlenPoolingParams& params, cudaStream_t stream) {
  if (!validate(params).empty()) return cudaErrorInvalidValue;
  const auto kernel = params.type == ElementType::kFloat32   ? launch_pooling<float>
                      : params.type == ElementType::kFloat16 ? launch_pooling<Float16>
                                                             : launch_pooling<BFloat16>;
  return kernel(params, stream);
}

}  // namespace mbert::cuda
