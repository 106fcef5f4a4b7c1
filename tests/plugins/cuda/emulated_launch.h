// Converts the shape of a launch for the emulated GPU.
#ifndef MBERT_TESTS_PLUGINS_CUDA_EMULATED_LAUNCH_H_
#define MBERT_TESTS_PLUGINS_CUDA_EMULATED_LAUNCH_H_

#include <cstdint>

#include "cuda/arch/types.h"
#include "emulation/gpu.h"

namespace mbert::cuda {

inline EmulatedLaunch emulated_launch(const LaunchShape& shape, int capability,
                                      std::uint64_t seed) {
  EmulatedLaunch launch;
  launch.grid_x = shape.grid_x;
  launch.grid_y = shape.grid_y;
  launch.threads = shape.threads;
  launch.shared_bytes = shape.shared_bytes;
  launch.capability = capability;
  launch.seed = seed;
  return launch;
}

}  // namespace mbert::cuda

#endif  // MBERT_TESTS_PLUGINS_CUDA_EMULATED_LAUNCH_H_
