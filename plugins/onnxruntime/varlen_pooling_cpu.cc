// mbert::VarlenPooling on the CPU.
#include "operators.h"
#include "parallel_for.h"
#include "pooling.h"
#include "varlen_pooling_op.h"

namespace mbert::ort {
namespace {

class VarlenPoolingKernel : public VarlenPoolingOp<cpu::VarlenPoolingParams> {
 public:
  using VarlenPoolingOp::VarlenPoolingOp;

  void compute(const Ort::KernelContext& context) const {
    cpu::run(bind(context, cpu::validate), parallel_for(context));
  }
};

}  // namespace

OperatorList varlen_pooling_cpu() { return operators_of<VarlenPoolingKernel>(kCpuProvider); }

}  // namespace mbert::ort
