// Kernel launches, for sources that nvcc compiles.
#ifndef MBERT_PLUGINS_CUDA_LAUNCH_H_
#define MBERT_PLUGINS_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstdint>

#include "arch/types.h"

namespace mbert::cuda {

// Launches kernel(argument). For an empty grid it does nothing.
template <class Argument>
cudaError_t launch_kernel(void (*kernel)(Argument), const LaunchShape& shape,
                          const Argument& argument, cudaStream_t stream) {
  if (shape.grid_x == 0 || shape.grid_y == 0) return cudaSuccess;
  // The shared memory that a block may use without cudaFuncSetAttribute().
  constexpr std::uint32_t kDefaultSharedBytes = 48 * 1024;
  if (shape.shared_bytes > kDefaultSharedBytes) {
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shape.shared_bytes));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.grid_x), static_cast<unsigned>(shape.grid_y));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, argument);
}

// Launches kernels on a stream, one after the other, until one fails to launch.
class StreamLauncher {
 public:
  explicit StreamLauncher(cudaStream_t stream) : stream_(stream) {}

  cudaError_t error() const { return error_; }

 protected:
  template <class Argument>
  void launch_next(void (*kernel)(Argument), const LaunchShape& shape, const Argument& argument) {
    if (error_ == cudaSuccess) error_ = launch_kernel(kernel, shape, argument, stream_);
  }

 private:
  cudaStream_t stream_;
  cudaError_t error_ = cudaSuccess;
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_LAUNCH_H_
