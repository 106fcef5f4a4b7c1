// The result of a CUDA kernel's launch, in words.
#ifndef MBERT_PLUGINS_COMMON_LAUNCH_PROBLEM_H_
#define MBERT_PLUGINS_COMMON_LAUNCH_PROBLEM_H_

#include <cuda_runtime_api.h>

#include <string>

#include "cuda/device.h"
#include "cuda/varlen_attention_params.h"

namespace mbert {

// Returns an empty string when the launch of a kernel that computes in that type succeeded, or else
// why it did not.
inline std::string launch_problem(cudaError_t error, cuda::ElementType type) {
  if (error == cudaSuccess) return {};
  int capability = 0;
  if (error == cudaErrorNotSupported && cuda::get_compute_capability(&capability) == cudaSuccess) {
    const std::string problem = cuda::validate_device(type, capability);
    if (!problem.empty()) return problem;
  }
  return std::string("the CUDA kernel could not be launched: ") + cudaGetErrorName(error) + " (" +
         cudaGetErrorString(error) + ")";
}

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_LAUNCH_PROBLEM_H_
