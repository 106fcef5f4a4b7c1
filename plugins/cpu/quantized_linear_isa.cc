// Compiled once for each instruction set: see varlen_attention_isa.cc.
#include "quantized_linear_kernel.h"

namespace mbert::cpu::MBERT_ISA_NAME {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

}  // namespace

extern const QuantizedLinearKernels kQuantizedLinear;
const QuantizedLinearKernels kQuantizedLinear = {
    sizeof(IntegerDot::Activation),
    RowQuantizer<IntegerDot::Activation, kLanes>::run,
    PanelMultiplier<IntegerDot, kLanes>::run,
};

}  // namespace mbert::cpu::MBERT_ISA_NAME
