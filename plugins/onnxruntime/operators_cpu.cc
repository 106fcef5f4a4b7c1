// What libmbert_onnxruntime.so brings.
#include "operators.h"

namespace mbert::ort {

OperatorList operators() { return operators_on_cpu(); }

}  // namespace mbert::ort
