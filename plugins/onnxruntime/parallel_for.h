// Threads for the CPU kernels.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_PARALLEL_FOR_H_
#define MBERT_PLUGINS_ONNXRUNTIME_PARALLEL_FOR_H_

#include <cstdint>
#include <functional>

#include "api.h"
#include "types.h"

namespace mbert::ort {

// Returns a ParallelFor on ONNX Runtime's thread pool; each idle thread takes the next task.
inline cpu::ParallelFor parallel_for(const Ort::KernelContext& context) {
  return [&context](std::int64_t count, const std::function<void(std::int64_t)>& fn) {
    const auto call = [](void* data, std::size_t index) noexcept {
      (*static_cast<const std::function<void(std::int64_t)>*>(data))(
          static_cast<std::int64_t>(index));
    };
    context.ParallelFor(call, static_cast<std::size_t>(count), 0,
                        const_cast<void*>(static_cast<const void*>(&fn)));
  };
}

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_PARALLEL_FOR_H_
