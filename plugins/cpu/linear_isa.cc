// Compiled once for each instruction set: see varlen_attention_isa.cc.
#include "bfloat16_dot.h"
#include "float_dot.h"
#include "integer_dot.h"
#include "linear_kernel.h"

namespace mbert::cpu::MBERT_ISA_NAME {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

template <typename Dot>
constexpr LinearKernels kernels_with() {
  return {sizeof(typename Dot::Activation), RowPreparer<Dot, kLanes>::run,
          PanelMultiplier<Dot, kLanes>::run};
}

}  // namespace

extern const LinearTable kLinear;
const LinearTable kLinear = {kernels_with<FloatDot<kLanes>>(), kernels_with<BFloat16Dot<kLanes>>(),
                             kernels_with<IntegerDot>()};

}  // namespace mbert::cpu::MBERT_ISA_NAME
