// Checks that the operators share. Each returns an empty string, or else an error message.
#ifndef MBERT_PLUGINS_CUDA_VALIDATION_H_
#define MBERT_PLUGINS_CUDA_VALIDATION_H_

#include <cstdint>
#include <initializer_list>
#include <string>

namespace mbert::cuda {

struct SizeCheck {
  const char* name;
  std::int64_t size;
  std::int64_t most;
};

inline std::string validate_sizes(std::initializer_list<SizeCheck> checks) {
  for (const SizeCheck& check : checks) {
    if (check.size >= 0 && check.size <= check.most) continue;
    return std::string(check.name) + " is " + std::to_string(check.size) +
           "; it has to be from 0 to " + std::to_string(check.most);
  }
  return {};
}

struct PointerCheck {
  const char* name;
  const void* pointer;
  int alignment;   // bytes
  bool is_needed;  // otherwise it is not checked
};

inline std::string validate_pointers(std::initializer_list<PointerCheck> checks) {
  for (const PointerCheck& check : checks) {
    if (!check.is_needed) continue;
    if (check.pointer == nullptr) {
      return std::string(check.name) + " is a null pointer; it has to be device memory";
    }
    if (reinterpret_cast<std::uintptr_t>(check.pointer) %
            static_cast<std::uintptr_t>(check.alignment) !=
        0) {
      return std::string(check.name) + " is at an address that is not a multiple of " +
             std::to_string(check.alignment) +
             "; the kernel reads or writes that many bytes at once";
    }
  }
  return {};
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VALIDATION_H_
