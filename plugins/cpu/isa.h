// The instruction sets of the kernels (isa_list.h), and the choice of one at run time.
#ifndef MBERT_PLUGINS_CPU_ISA_H_
#define MBERT_PLUGINS_CPU_ISA_H_

#include <string>
#include <vector>

namespace mbert::cpu {

// Those of this build, in the order of isa_list.h: from slow to fast.
enum class Isa {
#define MBERT_ISA(name, enumerator, ...) enumerator,
#include "isa_list.h"
};

const char* isa_name(Isa isa);

// Returns the instruction sets of this build that this processor can run, from slow to fast.
std::vector<Isa> supported_isas();

// Sets *isa to the one that the environment variable MBERT_ISA names; if it is unset or empty, to
// the fastest that is supported. Returns an empty string, or else an error message.
std::string choose_isa(Isa* isa);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_ISA_H_
