// The Machine of a GPU: one PTX instruction for each primitive. emulation/gpu.h has the same
// interface.
#ifndef MBERT_PLUGINS_CUDA_ARCH_PTX_CUH_
#define MBERT_PLUGINS_CUDA_ARCH_PTX_CUH_

#include <cuda_bf16.h>

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "types.h"

namespace mbert::cuda {

// kCapability: 75 for the instructions of compute capability 7.5, 80 for those of 8.0 and newer. A
// function that needs more is compiled only where it is called.
//
// Fragment layouts follow the PTX manual, "Matrix multiply-accumulate operation using mma
// instruction" and "ldmatrix". In shared memory an address is the number of bytes from the start of
// the block's dynamic part.
template <int kCapability>
class Ptx {
 public:
  __device__ __forceinline__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ __forceinline__ int block_x() const { return static_cast<int>(blockIdx.x); }
  __device__ __forceinline__ int block_y() const { return static_cast<int>(blockIdx.y); }

  __device__ __forceinline__ void barrier() const { __syncthreads(); }

  __device__ __forceinline__ float shuffle_xor(float value, int mask) const {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }

  template <class T>
  __device__ __forceinline__ T load_shared(std::uint32_t offset) const {
    return *reinterpret_cast<const T*>(shared() + offset);
  }

  template <class T>
  __device__ __forceinline__ void store_shared(std::uint32_t offset, const T& value) const {
    *reinterpret_cast<T*>(shared() + offset) = value;
  }

  // The same kernel must not write the array: the load goes through the read-only cache.
  template <class T>
  __device__ __forceinline__ T load_global(const T* pointer) const {
    using Raw = std::conditional_t<
        sizeof(T) == 16, uint4,
        std::conditional_t<sizeof(T) == 8, uint2,
                           std::conditional_t<sizeof(T) == 4, unsigned, unsigned short>>>;
    static_assert(sizeof(T) == sizeof(Raw));
    const Raw raw = __ldg(reinterpret_cast<const Raw*>(pointer));
    T value;
    std::memcpy(&value, &raw, sizeof(value));
    return value;
  }

  template <class T>
  __device__ __forceinline__ void store_global(T* pointer, const T& value) const {
    *pointer = value;
  }

  // Four 8 x 8 matrices of 16-bit elements; lane l passes the address of row l % 8 of matrix l / 8.
  __device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], std::uint32_t offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address(offset))
                 : "memory");
  }

  __device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4],
                                                    std::uint32_t offset) const {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address(offset))
                 : "memory");
  }

  // Copies 16 bytes; if not valid, writes zeros and reads nothing.
  __device__ __forceinline__ void cp_async16(std::uint32_t offset, const void* global,
                                             bool valid) const {
    static_assert(kCapability >= 80);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(address(offset)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
                 : "memory");
  }

  __device__ __forceinline__ void cp_async_commit() const {
    static_assert(kCapability >= 80);
    asm volatile("cp.async.commit_group;" ::: "memory");
  }

  // Waits for this thread's groups of copies, except the last kNewest committed.
  template <int kNewest>
  __device__ __forceinline__ void cp_async_wait() const {
    static_assert(kCapability >= 80);
    asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
  }

  // d += a * b: 16 rows, 8 columns, depth 16. Volatile, so that the compiler does not move it to
  // where some lanes do not take part.
  template <class T>
  __device__ __forceinline__ void mma_k16(float (&d)[4], const std::uint32_t (&a)[4],
                                          const std::uint32_t (&b)[2]) const {
    static_assert(kCapability >= 80);
    if constexpr (std::is_same_v<T, Float16>) {
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
      static_assert(std::is_same_v<T, BFloat16>);
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
  }

  // The same for float16, with depth 8.
  __device__ __forceinline__ void mma_k8(float (&d)[4], const std::uint32_t (&a)[2],
                                         const std::uint32_t (&b)[1]) const {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
  }

  // 2^x within two units in the last place; 0 for -inf and instead of subnormal results.
  __device__ __forceinline__ float exp2(float x) const {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
  }

  // Two elements in a register, the first in the low half; ties are rounded to even.
  template <class T>
  __device__ __forceinline__ std::uint32_t pack(float low, float high) const {
    std::uint32_t packed;
    if constexpr (std::is_same_v<T, BFloat16> && kCapability >= 80) {
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      packed = bfloat16_bits(low) | bfloat16_bits(high) << 16;
    } else if constexpr (kCapability >= 80) {
      asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    } else {
      asm("{.reg .b16 low, high;\n"
          "cvt.rn.f16.f32 low, %1;\n"
          "cvt.rn.f16.f32 high, %2;\n"
          "mov.b32 %0, {low, high};}"
          : "=r"(packed)
          : "f"(low), "f"(high));
    }
    return packed;
  }

  template <class T>
  __device__ __forceinline__ Float2 unpack(std::uint32_t packed) const {
    Float2 values;
    if constexpr (std::is_same_v<T, Float16>) {
      asm("{.reg .b16 low, high;\n"
          "mov.b32 {low, high}, %2;\n"
          "cvt.f32.f16 %0, low;\n"
          "cvt.f32.f16 %1, high;}"
          : "=f"(values.x), "=f"(values.y)
          : "r"(packed));
    } else {
      static_assert(std::is_same_v<T, BFloat16>);
      values.x = __uint_as_float(packed << 16);
      values.y = __uint_as_float(packed & 0xffff0000u);
    }
    return values;
  }

 private:
  static __device__ __forceinline__ char* shared() {
    extern __shared__ Words4 shared_memory[];
    return reinterpret_cast<char*>(shared_memory);
  }

  static __device__ __forceinline__ std::uint32_t bfloat16_bits(float value) {
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  }

  static __device__ __forceinline__ std::uint32_t address(std::uint32_t offset) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared())) + offset;
  }
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_ARCH_PTX_CUH_
