// Error reports of the C functions in the emulated libraries.
#ifndef MBERT_TESTS_PLUGINS_CUDA_GUARDED_H_
#define MBERT_TESTS_PLUGINS_CUDA_GUARDED_H_

#include <cstdint>
#include <cstdio>
#include <exception>

namespace mbert::cuda {

// Calls run(), and writes the message of an exception, or an empty string, into error[size].
template <class Run>
void guarded(char* error, std::int64_t size, Run run) {
  error[0] = '\0';
  try {
    run();
  } catch (const std::exception& exception) {
    std::snprintf(error, static_cast<std::size_t>(size), "%s", exception.what());
  }
}

}  // namespace mbert::cuda

#endif  // MBERT_TESTS_PLUGINS_CUDA_GUARDED_H_
