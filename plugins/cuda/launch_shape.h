// The shape of a kernel's launch.
#ifndef MBERT_PLUGINS_CUDA_LAUNCH_SHAPE_H_
#define MBERT_PLUGINS_CUDA_LAUNCH_SHAPE_H_

#include <cstdint>

namespace mbert::cuda {

struct LaunchShape {
  int grid_x;
  int grid_y;
  int threads;
  std::uint32_t shared_bytes;  // dynamic
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_LAUNCH_SHAPE_H_
