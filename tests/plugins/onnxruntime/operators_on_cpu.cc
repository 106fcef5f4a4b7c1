// The CUDA operators, registered for the CPU execution provider. Their kernels must not be
// launched: the inputs are in host memory.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() {
  return joined({varlen_attention_cuda(kCpuProvider), varlen_pooling_cuda(kCpuProvider)});
}

}  // namespace mbert::ort
