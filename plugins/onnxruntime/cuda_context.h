// Kernel launches on ONNX Runtime's stream.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_
#define MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "api.h"
#include "cuda/launch_problem.h"

namespace mbert::ort {

// Launches the kernel on ONNX Runtime's stream. Throws Ort::Exception if it cannot be launched.
template <typename Params>
void launch_on_stream(const Ort::KernelContext& context, const Params& params) {
  const auto stream = static_cast<cudaStream_t>(context.GetGPUComputeStream());
  std::string problem = cuda::launch_problem(launch(params, stream), params);
  if (!problem.empty()) throw Ort::Exception(std::move(problem), ORT_FAIL);
}

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_
