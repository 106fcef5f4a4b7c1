// What this processor can do, and the operating system lets a process use. Functions are named as
// Linux names the features in /proc/cpuinfo.
#ifndef MBERT_PLUGINS_CPU_CPU_FEATURES_H_
#define MBERT_PLUGINS_CPU_CPU_FEATURES_H_

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mbert::cpu::features {

#if defined(__x86_64__)

// __builtin_cpu_supports() also checks that the operating system saves the wide registers.
inline bool avx2() { return __builtin_cpu_supports("avx2") != 0; }
inline bool fma() { return __builtin_cpu_supports("fma") != 0; }
inline bool avx512f() { return __builtin_cpu_supports("avx512f") != 0; }
inline bool avx512bw() { return __builtin_cpu_supports("avx512bw") != 0; }
inline bool avx512dq() { return __builtin_cpu_supports("avx512dq") != 0; }
inline bool avx512vl() { return __builtin_cpu_supports("avx512vl") != 0; }
inline bool avx512_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

// The features below are read from cpuid: not every compiler's __builtin_cpu_supports() knows them.
struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;

  // All zeros if the processor does not have the leaf.
  explicit Cpuid(unsigned leaf, unsigned subleaf = 0) {
    if (__get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx) == 0) *this = Cpuid();
  }

 private:
  Cpuid() = default;
};

inline bool f16c() { return (Cpuid(1).ecx >> 29 & 1) != 0; }
inline bool avx_vnni() { return (Cpuid(7, 1).eax >> 4 & 1) != 0; }
inline bool avx512_bf16() { return (Cpuid(7, 1).eax >> 5 & 1) != 0; }
inline bool amx_bf16() { return (Cpuid(7).edx >> 22 & 1) != 0; }
inline bool amx_tile() { return (Cpuid(7).edx >> 24 & 1) != 0; }
inline bool amx_int8() { return (Cpuid(7).edx >> 25 & 1) != 0; }

// Asks Linux, once, for the permission to use AMX's tiles: it has to save them, and a process that
// uses them gets larger signal frames. Call it on a processor with amx_tile() only.
inline bool tile_permission() {
  constexpr unsigned kTileConfig = 1U << 17, kTileData = 1U << 18;  // bits of XCR0
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & (kTileConfig | kTileData)) != (kTileConfig | kTileData)) return false;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, since Linux 5.16
  constexpr long kTileDataFeature = 18;        // XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileDataFeature) == 0;
  return granted;
}

#elif defined(__aarch64__)

inline bool asimddp() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

#endif

}  // namespace mbert::cpu::features

#endif  // MBERT_PLUGINS_CPU_CPU_FEATURES_H_
