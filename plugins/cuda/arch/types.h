// Types that kernels and machines share, and the macros of device code.
#ifndef MBERT_PLUGINS_CUDA_ARCH_TYPES_H_
#define MBERT_PLUGINS_CUDA_ARCH_TYPES_H_

#include <cstdint>

#if defined(__CUDACC__)
#define MBERT_DEVICE __device__ __forceinline__
#define MBERT_PRAGMA(text) _Pragma(#text)
#define MBERT_UNROLL _Pragma("unroll")
#define MBERT_UNROLL_BY(count) MBERT_PRAGMA(unroll count)
#else
// The kernels are also compiled for the CPU: see emulation/gpu.h.
#define MBERT_DEVICE inline
#define MBERT_UNROLL
#define MBERT_UNROLL_BY(count)
#endif

namespace mbert::cuda {

// Elements in memory; in registers they are floats.
struct Float16 {
  std::uint16_t bits;
};

struct BFloat16 {
  std::uint16_t bits;
};

// Vectors that a lane loads or stores with one instruction.
struct alignas(8) Float2 {
  float x, y;
};

struct alignas(16) Float4 {
  float lane[4];
};

struct alignas(16) Words4 {
  std::uint32_t word[4];
};

constexpr int kWarpSize = 32;

// The grid and the blocks of a kernel launch.
struct LaunchShape {
  int grid_x;
  int grid_y;
  int threads;                 // of a block
  std::uint32_t shared_bytes;  // dynamic shared memory of a block
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_ARCH_TYPES_H_
