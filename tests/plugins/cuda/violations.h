// Kernels that each break one rule, which the emulated GPU must report. They have 64 threads, 1,024
// bytes of shared memory, and `in` and `out` of one word per thread.
#ifndef MBERT_TESTS_PLUGINS_CUDA_VIOLATIONS_H_
#define MBERT_TESTS_PLUGINS_CUDA_VIOLATIONS_H_

#include <cstdint>
#include <map>
#include <string>

#include "emulation/gpu.h"

namespace mbert::cuda {

struct Violation {
  static constexpr int kThreads = 64;
  static constexpr int kSharedBytes = 1024;

  Emulated& machine;
  const std::uint32_t* in;
  std::uint32_t* out;
  // The thread's slot, and the slot of a thread in the other warp.
  std::uint32_t own = static_cast<std::uint32_t>(machine.thread());
  std::uint32_t other = (own + 32) % kThreads;

  void store(std::uint32_t slot) { machine.store_shared<std::uint32_t>(slot * 4, own); }
  std::uint32_t load(std::uint32_t slot) { return machine.load_shared<std::uint32_t>(slot * 4); }
  void copy(std::uint32_t slot) { machine.cp_async16(slot * 16, in + own / 4 * 4, true); }
  void fill() {
    machine.store_shared<Words4>(own * 16, {});
    machine.barrier();
  }
};

inline const std::map<std::string, void (*)(Violation)>& violations() {
  static const std::map<std::string, void (*)(Violation)> all{
      {"none",
       [](Violation v) {
         v.store(v.own);
         v.machine.barrier();
         v.machine.store_global(v.out + v.own, v.load(v.other));
       }},
      {"missing barrier before a read",
       [](Violation v) {
         v.fill();
         v.store(v.own);
         v.load(v.other);
       }},
      {"missing barrier after a read",
       [](Violation v) {
         v.fill();
         v.load(v.other);
         v.store(v.own);
       }},
      {"two writers", [](Violation v) { v.store(v.own / 2); }},
      {"race within a warp",
       [](Violation v) {
         v.fill();
         v.store(v.own);
         v.load(v.own ^ 1);
       }},
      {"ldmatrix without a barrier",
       [](Violation v) {
         std::uint32_t r[4];
         v.machine.store_shared<Words4>(v.own * 16, {});
         v.machine.ldmatrix_x4(r, v.own * 16);
       }},
      {"uninitialised read", [](Violation v) { v.load(v.own); }},
      {"shared out of bounds", [](Violation v) { v.store(v.own + 193); }},
      {"shared misaligned", [](Violation v) { v.machine.store_shared<Words4>(v.own * 8, {}); }},
      {"ldmatrix misaligned",
       [](Violation v) {
         std::uint32_t r[4];
         v.fill();
         v.machine.ldmatrix_x4(r, v.own * 8);
       }},
      {"read before the wait",
       [](Violation v) {
         v.copy(v.own);
         v.machine.cp_async_commit();
         v.load(v.own * 4);
       }},
      {"wait that does not cover the group",
       [](Violation v) {
         v.copy(v.own);
         v.machine.cp_async_commit();
         v.machine.cp_async_wait<1>();
         v.load(v.own * 4);
       }},
      {"wait without a commit",
       [](Violation v) {
         v.copy(v.own);
         v.machine.cp_async_wait<0>();
         v.load(v.own * 4);
       }},
      {"wait without a barrier",
       [](Violation v) {
         v.copy(v.own);
         v.machine.cp_async_commit();
         v.machine.cp_async_wait<0>();
         v.load(v.other * 4);
       }},
      {"barrier without a wait",
       [](Violation v) {
         v.copy(v.own);
         v.machine.cp_async_commit();
         v.machine.barrier();
         v.load(v.other * 4);
       }},
      {"copy over what others read",
       [](Violation v) {
         v.fill();
         v.load(v.other * 4);
         v.copy(v.own);
       }},
      {"global read out of bounds", [](Violation v) { v.machine.load_global(v.in + v.own + 1); }},
      {"global read misaligned",
       [](Violation v) {
         v.machine.load_global(reinterpret_cast<const Words4*>(v.in + v.own / 2));
       }},
      {"copy from out of bounds",
       [](Violation v) { v.machine.cp_async16(v.own * 16, v.in + 64, v.own == 1); }},
      {"write to what may be read only",
       [](Violation v) {
         v.machine.store_global(const_cast<std::uint32_t*>(v.in) + v.own, v.own);
       }},
      {"written twice", [](Violation v) { v.machine.store_global(v.out + v.own / 2, v.own); }},
      {"read of the output", [](Violation v) { v.machine.load_global(v.out + v.own); }},
      {"output not written",
       [](Violation v) {
         if (v.own != 7) v.machine.store_global(v.out + v.own, v.own);
       }},
      {"divergent barrier",
       [](Violation v) {
         if (v.own < 32) {
           v.machine.barrier();
         } else {
           v.machine.barrier();
         }
       }},
      {"barrier that threads return before",
       [](Violation v) {
         if (v.own != 40) v.machine.barrier();
       }},
      {"warp-wide primitive without a lane",
       [](Violation v) {
         if (v.own != 40) v.machine.shuffle_xor(1.0f, 1);
       }},
      {"warp-wide primitives apart",
       [](Violation v) {
         float d[4]{};
         const std::uint32_t a[2]{};
         const std::uint32_t b[1]{};
         if (v.own % 2 == 0) {
           v.machine.shuffle_xor(1.0f, 1);
         } else {
           v.machine.mma_k8(d, a, b);
         }
       }},
      {"barrier and warp-wide primitive",
       [](Violation v) {
         if (v.own % 2 == 0) {
           v.machine.shuffle_xor(1.0f, 1);
         } else {
           v.machine.barrier();
         }
       }},
  };
  return all;
}

}  // namespace mbert::cuda

#endif  // MBERT_TESTS_PLUGINS_CUDA_VIOLATIONS_H_
