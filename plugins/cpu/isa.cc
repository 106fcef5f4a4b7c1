#include "isa.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mbert::cpu {
namespace {

struct Named {
  Isa isa;
  const char* name;
};

// In the order of the enumeration.
constexpr Named kAll[] = {
    {Isa::kAmxEmulated, "amx_emulated"},
    {Isa::kScalar, "scalar"},
    {Isa::kAvx2, "avx2"},
    {Isa::kAvxVnni, "avx_vnni"},
    {Isa::kAvx512, "avx512"},
    {Isa::kAvx512Vnni, "avx512_vnni"},
    {Isa::kAvx512Bf16, "avx512_bf16"},
    {Isa::kAmx, "amx"},
    {Isa::kNeon, "neon"},
    {Isa::kNeonDot, "neon_dot"},
};

#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports knows these.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1U << 29)) != 0;
}

bool in_leaf_7_1(unsigned bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1U << bit)) != 0;
}

// Tiles, and their products of bytes and of bfloat16.
bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kBf16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25;
  constexpr unsigned kNeeded = kBf16 | kTile | kInt8;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kNeeded) == kNeeded;
}

// Whether Linux saves the tiles, and lets this process use them: a process has to ask, because the
// frames of its signals grow. Of a processor with AMX only.
bool may_use_tiles() {
  constexpr unsigned kConfig = 1U << 17, kData = 1U << 18;
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & (kConfig | kData)) != (kConfig | kData)) return false;
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, since Linux 5.16
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}
#endif

bool supported(Isa isa) {
#if defined(MBERT_EMULATE_AMX)
  if (isa == Isa::kAmxEmulated) return true;
#endif
#if defined(__x86_64__)
  // These also ask whether the operating system saves the wide registers.
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
  const bool avx512 =
      avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
      __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvxVnni) return avx2 && in_leaf_7_1(4);
  if (isa == Isa::kAvx512) return avx512;
  const bool avx512_vnni = avx512 && __builtin_cpu_supports("avx512vnni") != 0;
  if (isa == Isa::kAvx512Vnni) return avx512_vnni;
  const bool avx512_bf16 = avx512_vnni && in_leaf_7_1(5);
  if (isa == Isa::kAvx512Bf16) return avx512_bf16;
  if (isa == Isa::kAmx) return avx512_bf16 && has_amx() && may_use_tiles();
#elif defined(__aarch64__)
  // Part of the architecture: no processor is without it.
  if (isa == Isa::kNeon) return true;
  if (isa == Isa::kNeonDot) return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
  return isa == Isa::kScalar;
}

}  // namespace

const char* isa_name(Isa isa) { return kAll[static_cast<std::size_t>(isa)].name; }

std::vector<Isa> supported_isas() {
  std::vector<Isa> result;
  for (const Named& named : kAll) {
    if (supported(named.isa)) result.push_back(named.isa);
  }
  return result;
}

std::string choose_isa(Isa* isa) {
  const std::vector<Isa> isas = supported_isas();
  const char* requested = std::getenv("MBERT_ISA");
  if (requested == nullptr || *requested == '\0') {
    *isa = isas.back();
    return {};
  }
  std::string names;
  for (const Isa candidate : isas) {
    if (std::string(requested) == isa_name(candidate)) {
      *isa = candidate;
      return {};
    }
    names += names.empty() ? "" : ", ";
    names += isa_name(candidate);
  }
  return "the environment variable MBERT_ISA is '" + std::string(requested) +
         "', but this processor and build support " + names +
         "; set it to one of these, or unset it to use the fastest";
}

}  // namespace mbert::cpu
