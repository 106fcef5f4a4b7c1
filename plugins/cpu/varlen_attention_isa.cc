// Compiled once for each instruction set, with its flags and MBERT_ISA_NAME. Nothing here may emit
// code that other translation units can call: the linker could make a processor without these
// instructions run that copy.
#include "varlen_attention_kernel.h"

namespace mbert::cpu::MBERT_ISA_NAME {
namespace {

// Vector registers: 16 of 4 floats (SSE2) or 8 (AVX2); 32 of 16 (AVX-512) or 4 (NEON).
#if defined(__AVX512F__)
constexpr int kLanes = 16, kVectors = 2, kRows = 8;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kVectors = 3, kRows = 4;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kVectors = 6, kRows = 4;
#else
constexpr int kLanes = 4, kVectors = 3, kRows = 4;
#endif

}  // namespace

extern const VarlenAttentionKernels kVarlenAttention;
const VarlenAttentionKernels kVarlenAttention = {
    VarlenAttentionBlock<float, kLanes, kVectors, kRows>::run,
    VarlenAttentionBlock<Float16, kLanes, kVectors, kRows>::run,
    VarlenAttentionBlock<BFloat16, kLanes, kVectors, kRows>::run,
};

}  // namespace mbert::cpu::MBERT_ISA_NAME
