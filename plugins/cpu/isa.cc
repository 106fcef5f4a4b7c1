#include "isa.h"

#include <cstddef>
#include <cstdlib>

#include "cpu_features.h"

namespace mbert::cpu {
namespace {

bool supports_none() { return true; }

// supports_scalar(), supports_avx2(), ...
#define MBERT_ISA(name, enumerator, parent, attention, needs, flags) \
  bool supports_##name() {                                           \
    using namespace features;                                        \
    return supports_##parent() && (needs);                           \
  }
#include "isa_list.h"

struct Entry {
  Isa isa;
  const char* name;
  bool (*supported)();
};

constexpr Entry kEntries[] = {
#define MBERT_ISA(name, enumerator, ...) {Isa::enumerator, #name, supports_##name},
#include "isa_list.h"
};

}  // namespace

const char* isa_name(Isa isa) { return kEntries[static_cast<std::size_t>(isa)].name; }

std::vector<Isa> supported_isas() {
  std::vector<Isa> result;
  for (const Entry& entry : kEntries) {
    if (entry.supported()) result.push_back(entry.isa);
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
