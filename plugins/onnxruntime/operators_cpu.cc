// What libmbert_onnxruntime.so brings.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() { return joined({varlen_attention_cpu(), varlen_pooling_cpu()}); }

}  // namespace mbert::ort
