// Which instruction set the kernels use, chosen at run time.
#ifndef MBERT_PLUGINS_CPU_ISA_H_
#define MBERT_PLUGINS_CPU_ISA_H_

#include <string>
#include <vector>

namespace mbert::cpu {

// From slow to fast. kScalar is what every processor of the architecture has (on x86-64: SSE2), and
// kAmxEmulated is for tests: kAmx's kernels of linear layers, on emulated tiles.
enum class Isa {
  kAmxEmulated,
  kScalar,
  kAvx2,
  kAvxVnni,
  kAvx512,
  kAvx512Vnni,
  kAvx512Bf16,
  kAmx,
  kNeon,
  kNeonDot
};

const char* isa_name(Isa isa);

// The ones that this build has and this processor can run, from slow to fast.
std::vector<Isa> supported_isas();

// Sets *isa to the one named in the environment variable MBERT_ISA, or else to the fastest
// supported. Returns an empty string, or else what is wrong with the name.
std::string choose_isa(Isa* isa);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_ISA_H_
