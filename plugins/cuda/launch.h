// Launching a kernel, for the sources that nvcc compiles.
#ifndef MBERT_PLUGINS_CUDA_LAUNCH_H_
#define MBERT_PLUGINS_CUDA_LAUNCH_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace mbert::cuda {

struct LaunchShape {
  int grid_x;
  int grid_y;
  int threads;
  std::uint32_t shared_bytes;  // dynamic
};

// Launches kernel(argument); an empty grid is no launch.
template <class Argument>
cudaError_t launch_kernel(void (*kernel)(Argument), const LaunchShape& shape,
                          const Argument& argument, cudaStream_t stream) {
  if (shape.grid_x == 0 || shape.grid_y == 0) return cudaSuccess;
  // What a block may have without asking.
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

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_LAUNCH_H_
