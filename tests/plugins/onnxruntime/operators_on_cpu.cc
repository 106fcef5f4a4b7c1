// The CUDA operators under the name of the execution provider that every ONNX Runtime has. Their
// kernels are not to be launched: the inputs are in the host's memory.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() {
  return joined({varlen_attention_cuda(kCpuProvider), varlen_pooling_cuda(kCpuProvider)});
}

}  // namespace mbert::ort
