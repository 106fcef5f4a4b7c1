// Scratch memory for one call.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_SCRATCH_H_
#define MBERT_PLUGINS_ONNXRUNTIME_SCRATCH_H_

#include <cstddef>
#include <memory>
#include <new>

#include "api.h"

namespace mbert::ort {

// Memory from ONNX Runtime on the device of the first input, for the lifetime of the object. On a
// GPU it is reused only after the work that is on the stream when it is freed.
class Scratch {
 public:
  Scratch(const Ort::KernelContext& context, std::size_t bytes) {
    if (bytes == 0) return;
    const Ort::ConstMemoryInfo memory = context.GetInput(0).GetTensorMemoryInfo();
    allocator_.reset(context.GetAllocator(*memory));
    if (memory.GetDeviceType() == OrtMemoryInfoDeviceType_CPU) {
      // The call below would dereference a stream in ONNX Runtime 1.21, and a CPU has none.
      data_ = allocator_->Alloc(allocator_.get(), bytes);
      if (data_ == nullptr) throw std::bad_alloc();
      return;
    }
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
