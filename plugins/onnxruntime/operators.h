// Which operators there are, and which of them a library brings.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_
#define MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_

#include <vector>

#include "api.h"

namespace mbert::ort {

// ONNX Runtime's names of its execution providers.
constexpr const char* kCpuProvider = "CPUExecutionProvider";
constexpr const char* kCudaProvider = "CUDAExecutionProvider";

// Alive as long as the library is loaded.
using OperatorList = std::vector<const OrtCustomOp*>;

// The operators' own files define these.
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

// On the CPU every library brings all of them.
inline OperatorList operators_on_cpu() {
  return joined({varlen_attention_cpu(), varlen_pooling_cpu(), linear_cpu()});
}

// Those of this library: all in one, since ONNX Runtime refuses a second library that registers the
// domain. Defined once for each library.
OperatorList operators();

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_OPERATORS_H_
