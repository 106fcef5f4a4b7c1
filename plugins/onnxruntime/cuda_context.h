// What the CUDA operators need of ONNX Runtime: its stream and its memory.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_
#define MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "api.h"
#include "launch_problem.h"

namespace mbert::ort {

// Memory on the device that holds the first input, for as long as the object lives: ONNX Runtime
// gives it to nobody else before the stream's work at that time is done.
class Scratch {
 public:
  Scratch(const Ort::KernelContext& context, std::size_t bytes) {
    if (bytes == 0) return;
    const Ort::ConstMemoryInfo memory = context.GetInput(0).GetTensorMemoryInfo();
    allocator_.reset(context.GetAllocator(*memory));
    Ort::ThrowOnError(Ort::GetApi().KernelContext_GetScratchBuffer(context.GetOrtKernelContext(),
                                                                   memory, bytes, &data_));
  }
  ~Scratch() {
    if (data_ != nullptr) allocator_->Free(allocator_.get(), data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  void* data() const { return data_; }

 private:
  struct Release {
    void operator()(OrtAllocator* allocator) const { Ort::GetApi().ReleaseAllocator(allocator); }
  };

  std::unique_ptr<OrtAllocator, Release> allocator_;
  void* data_ = nullptr;
};

// Launches the kernel on ONNX Runtime's stream. Throws Ort::Exception if it cannot be launched.
template <typename Params>
void launch_on_stream(const Ort::KernelContext& context, const Params& params) {
  const auto stream = static_cast<cudaStream_t>(context.GetGPUComputeStream());
  std::string problem = launch_problem(launch(params, stream), params);
  if (!problem.empty()) throw Ort::Exception(std::move(problem), ORT_FAIL);
}

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_CUDA_CONTEXT_H_
