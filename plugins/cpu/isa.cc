#include "isa.h"

#include <cstdlib>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace mbert::cpu {
namespace {

constexpr Isa kAll[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon};

#if defined(__x86_64__)
// Not every compiler's __builtin_cpu_supports knows f16c.
bool has_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1U << 29)) != 0;
}
#endif

bool supported(Isa isa) {
#if defined(__x86_64__)
  // These also ask whether the operating system saves the wide registers.
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && has_f16c();
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvx512) {
    return avx2 && __builtin_cpu_supports("avx512f") != 0 &&
           __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
           __builtin_cpu_supports("avx512vl") != 0;
  }
#elif defined(__aarch64__)
  // Part of the architecture: no processor is without it.
  if (isa == Isa::kNeon) return true;
#endif
  return isa == Isa::kScalar;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kNeon:
      return "neon";
    case Isa::kScalar:
      break;
  }
  return "scalar";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> result;
  for (const Isa isa : kAll) {
    if (supported(isa)) result.push_back(isa);
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
