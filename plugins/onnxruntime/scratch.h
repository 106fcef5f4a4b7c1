// Memory for the time of one call.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_SCRATCH_H_
#define MBERT_PLUGINS_ONNXRUNTIME_SCRATCH_H_

#include <cstddef>
#include <memory>

#include "api.h"

namespace mbert::ort {

// ONNX Runtime's memory where the first input lies, for as long as the object lives. On a GPU
// nobody else gets it before the stream's work at that time is done.
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

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_SCRATCH_H_
