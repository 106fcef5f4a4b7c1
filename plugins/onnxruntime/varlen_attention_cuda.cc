// mbert::VarlenAttention on CUDA. The offsets stay on the device; their values are not checked.
#include "cuda/varlen_attention.h"

#include "cuda_context.h"
#include "operators.h"
#include "scratch.h"
#include "varlen_attention_op.h"

namespace mbert::ort {
namespace {

class VarlenAttentionKernel : public VarlenAttentionOp<cuda::VarlenAttentionParams> {
 public:
  using VarlenAttentionOp::VarlenAttentionOp;

  void compute(const Ort::KernelContext& context) const {
    cuda::VarlenAttentionParams params = bind(context, cuda::validate_shapes);
    params.rotation = cuda::preferred_rotation(params.window);
    const Scratch workspace(context, cuda::workspace_bytes(params));
    params.workspace = workspace.data();
    launch_on_stream(context, params);
  }
};

}  // namespace

OperatorList varlen_attention_cuda(const char* provider) {
  return operators_of<VarlenAttentionKernel>(provider);
}

}  // namespace mbert::ort
