// The emulated GPU: the threads of a block are fibers on one CPU thread, and every primitive is
// checked. It has the interface of Ptx (cuda/arch/ptx.cuh), and computes what the PTX instructions
// there compute.
//
// A warp-wide primitive computes when all 32 lanes have arrived at it. It does not order accesses
// to shared memory, not even within the warp: only barrier() does. A seed determines which warp and
// lane runs next; races in shared memory are found for any seed.
#ifndef MBERT_PLUGINS_EMULATION_GPU_H_
#define MBERT_PLUGINS_EMULATION_GPU_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/arch/types.h"
#include "gpu_memory.h"

namespace mbert::cuda {

class EmulatedBlock;

// A position in the kernel's source.
struct Site {
  const char* file = "";
  int line = 0;

  // As a default argument, the position of the call.
  static Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// One thread of a block.
class Emulated {
 public:
  Emulated(EmulatedBlock& block, int thread) : block_(block), thread_(thread) {}

  int thread() const { return thread_; }
  int block_x() const;
  int block_y() const;

  // Waits for all threads of the block; it is an error if one has returned from the kernel.
  void barrier(Site site = Site::here());

  float shuffle_xor(float value, int mask, Site site = Site::here());

  template <class T>
  T load_shared(std::uint32_t offset, Site site = Site::here()) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
    T value;
    read_shared(offset, sizeof(T), &value, site);
    return value;
  }

  template <class T>
  void store_shared(std::uint32_t offset, T value, Site site = Site::here()) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
    write_shared(offset, sizeof(T), &value, site);
  }

  template <class T>
  T load_global(const T* pointer, Site site = Site::here()) {
    check_global_read(pointer, sizeof(T), site);
    return *pointer;
  }

  template <class T>
  void store_global(T* pointer, T value, Site site = Site::here()) {
    check_global_write(pointer, sizeof(T), site);
    *pointer = value;
  }

  // Four matrices of 8 x 8 16-bit elements; lane 8 j + i passes the address of row i of matrix j.
  void ldmatrix_x4(std::uint32_t (&r)[4], std::uint32_t offset, Site site = Site::here());
  void ldmatrix_x4_trans(std::uint32_t (&r)[4], std::uint32_t offset, Site site = Site::here());

  // Copies 16 bytes, or zeros if not valid. This thread can read them after it has waited for their
  // group; other threads after the barrier that follows.
  void cp_async16(std::uint32_t offset, const void* global, bool valid, Site site = Site::here());
  void cp_async_commit(Site site = Site::here());
  template <int N>
  void cp_async_wait(Site site = Site::here()) {
    wait_copies(N, site);
  }

  // d += a b: 16 x 16 by 16 x 8 elements, and 16 x 8 by 8 x 8. Products are exact; sums are rounded
  // to float32, in the order of k.
  template <class T>
  void mma_k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
               Site site = Site::here());
  void mma_k8(float (&d)[4], const std::uint32_t (&a)[2], const std::uint32_t (&b)[1],
              Site site = Site::here());

  static float exp2(float x);

  // Two elements in a register, the first in the low half; ties are rounded to even.
  template <class T>
  static std::uint32_t pack(float low, float high);
  template <class T>
  static Float2 unpack(std::uint32_t pair);

 private:
  friend class EmulatedBlock;

  struct Copy {
    std::uint32_t offset;
    std::int64_t group;
    std::byte bytes[16];
  };

  void at(const char* primitive, Site site) {
    primitive_ = primitive;
    site_ = site;
  }
  void read_shared(std::uint32_t offset, std::size_t bytes, void* to, Site site);
  void write_shared(std::uint32_t offset, std::size_t bytes, const void* from, Site site);
  void check_global_read(const void* pointer, std::size_t bytes, Site site);
  void check_global_write(const void* pointer, std::size_t bytes, Site site);
  void wait_copies(std::int64_t pending, Site site);

  EmulatedBlock& block_;
  int thread_;
  // The current primitive and its position, for messages.
  const char* primitive_ = "";
  Site site_;
  std::vector<Copy> copies_;  // in the order in which they began
  std::int64_t groups_ = 0;   // committed
};

struct EmulatedLaunch {
  int grid_x = 1;
  int grid_y = 1;
  int threads = 32;  // of a block; a multiple of 32
  std::size_t shared_bytes = 0;
  int capability = 80;  // 75 lacks cp.async and mma_k16
  std::uint64_t seed = 0;
  // If set, only the blocks for which it returns true run.
  std::function<bool(int block_x, int block_y)> filter;
};

// Runs the kernel on every block, one after the other. Throws a std::runtime_error that names the
// position, block, thread and primitive of an error: an access that is out of bounds, misaligned,
// uninitialised or in a race; a barrier or warp-wide primitive that not all threads reach; a
// primitive that the capability lacks. The kernel is then abandoned, so it must own nothing with a
// destructor.
void emulate(const EmulatedLaunch& launch, GlobalMemory& memory,
             const std::function<void(Emulated&)>& kernel);

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_EMULATION_GPU_H_
