// mbert::VarlenPooling on CUDA. The offsets stay on the device; their values are not checked.
#include "cuda/pooling.h"

#include "cuda_context.h"
#include "operators.h"
#include "varlen_pooling_op.h"

namespace mbert::ort {
namespace {

class VarlenPoolingKernel : public VarlenPoolingOp<cuda::VarlenPoolingParams> {
 public:
  using VarlenPoolingOp::VarlenPoolingOp;

  void compute(const Ort::KernelContext& context) const {
    launch_on_stream(context, bind(context, cuda::validate_shapes));
  }
};

}  // namespace

OperatorList varlen_pooling_cuda(const char* provider) {
  return operators_of<VarlenPoolingKernel>(provider);
}

}  // namespace mbert::ort
