// What libmbert_onnxruntime_cuda.so brings. A session without the CUDA execution provider never
// asks for the operators of that provider.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() {
  return joined({operators_on_cpu(), varlen_attention_cuda(kCudaProvider),
                 varlen_pooling_cuda(kCudaProvider)});
}

}  // namespace mbert::ort
