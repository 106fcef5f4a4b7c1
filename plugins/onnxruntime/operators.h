// The operators, and the list of those that a library registers.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_
#define MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_

#include <vector>

#include "api.h"

namespace mbert::ort {

// ONNX Runtime's names of the execution providers.
constexpr const char* kCpuProvider = "CPUExecutionProvider";
constexpr const char* kCudaProvider = "CUDAExecutionProvider";

// The operators live as long as the library is loaded.
using OperatorList = std::vector<const OrtCustomOp*>;

// Each is defined in the file of its name.
OperatorList varlen_attention_cpu();
OperatorList varlen_pooling_cpu();
OperatorList linear_cpu();
OperatorList varlen_attention_cuda(const char* provider);
OperatorList varlen_pooling_cuda(const char* provider);

inline OperatorList joined(const std::vector<OperatorList>& lists) {
  OperatorList all;
  for (const OperatorList& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

// Returns all operators of this library. It has those of the CPU and of CUDA, because ONNX Runtime
// refuses a second library that registers the same domain. Defined once in each library.
OperatorList operators();

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_
