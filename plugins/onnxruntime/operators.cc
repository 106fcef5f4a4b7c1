// The operators of this library. With MBERT_CUDA those for CUDA are among them; a session without
// the CUDA execution provider ignores them.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() {
  return joined({
      varlen_attention_cpu(),
      varlen_pooling_cpu(),
      linear_cpu(),
#if defined(MBERT_CUDA)
      varlen_attention_cuda(kCudaProvider),
      varlen_pooling_cuda(kCudaProvider),
#endif
  });
}

}  // namespace mbert::ort
