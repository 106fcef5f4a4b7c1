#include "arch/ptx.cuh"
#include "launch.h"
#include "pooling.h"
#include "pooling_kernel.h"

namespace mbert::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(VarlenPoolingTiling::kThreads)
    varlen_pooling_kernel(const __grid_constant__ VarlenPoolingArguments<T> arguments) {
  Ptx<75> machine;  // newer instructions would not help
  varlen_pooling(machine, arguments);
}

class Launcher : public StreamLauncher {
 public:
  using StreamLauncher::StreamLauncher;

  template <class T>
  void pool(const LaunchShape& shape, const VarlenPoolingArguments<T>& arguments) {
    launch_next(varlen_pooling_kernel<T>, shape, arguments);
  }
};

}  // namespace

cudaError_t launch(const VarlenPoolingParams& params, cudaStream_t stream) {
  if (!validate(params).empty()) return cudaErrorInvalidValue;
  Launcher launcher(stream);
  schedule(params, launcher);
  return launcher.error();
}

}  // namespace mbert::cuda
