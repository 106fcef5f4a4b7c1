// mbert::VarlenAttention on the CPU.
#include "isa.h"
#include "operators.h"
#include "parallel_for.h"
#include "varlen_attention.h"
#include "varlen_attention_op.h"

namespace mbert::ort {
namespace {

class VarlenAttentionKernel : public VarlenAttentionOp<cpu::VarlenAttentionParams> {
 public:
  VarlenAttentionKernel(const OrtKernelInfo* info, ONNXTensorElementDataType type)
      : VarlenAttentionOp(info, type) {
    require_valid(cpu::choose_isa(&isa_));
  }

  void compute(const Ort::KernelContext& context) const {
    cpu::run(bind(context, cpu::validate), isa_, parallel_for(context));
  }

 private:
  cpu::Isa isa_ = cpu::Isa::kScalar;
};

}  // namespace

OperatorList varlen_attention_cpu() { return operators_of<VarlenAttentionKernel>(kCpuProvider); }

}  // namespace mbert::ort
