// Error messages for failed launches.
#ifndef MBERT_PLUGINS_CUDA_LAUNCH_PROBLEM_H_
#define MBERT_PLUGINS_CUDA_LAUNCH_PROBLEM_H_

#include <cuda_runtime_api.h>

#include <string>

#include "device.h"
#include "varlen_attention_params.h"

namespace mbert::cuda {

// Explains `error`, the result of launch(params, ...). Returns an empty string if it succeeded.
template <class Params>
std::string launch_problem(cudaError_t error, const Params& params) {
  if (error == cudaSuccess) return {};
  std::string problem;
  int capability = 0;
  if (error == cudaErrorInvalidValue) {
    problem = validate(params);
  } else if (error == cudaErrorNotSupported && get_compute_capability(&capability) == cudaSuccess) {
    problem = validate_device(params.type, capability);
  } else if (error == cudaErrorNoKernelImageForDevice &&
             get_compute_capability(&capability) == cudaSuccess) {
    problem = capability_text(capability) + "; the CUDA kernels of this library are for " +
              MBERT_CUDA_BUILT_FOR +
              ". Build it with MBERT_CUDA_ARCHITECTURES=" + std::to_string(capability);
  }
  if (!problem.empty()) return problem;
  return std::string("the CUDA kernel could not be launched: ") + cudaGetErrorName(error) + " (" +
         cudaGetErrorString(error) + ")";
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_LAUNCH_PROBLEM_H_
