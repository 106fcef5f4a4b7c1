// Compiled once for each instruction set: see README.md.
#include "bfloat16_dot.h"
#include "float_dot.h"
#include "integer_dot.h"
#include "linear_kernel.h"

#if defined(__AMX_INT8__) || defined(MBERT_EMULATED_TILES)
#define MBERT_HAS_TILES
#include "linear_amx.h"
#endif

namespace mbert::cpu::MBERT_ISA_NAME {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

template <typename Dot, template <typename, int> class Multiplier = PanelMultiplier>
constexpr LinearKernels kernels_with() {
  return {sizeof(typename Dot::Input), RowPreparer<Dot, kLanes>::run, Multiplier<Dot, kLanes>::run};
}

}  // namespace

extern const LinearTable kLinear;
const LinearTable kLinear = {
    kernels_with<FloatDot<kLanes>>(),
#if defined(MBERT_HAS_TILES)
    kernels_with<BFloat16TileDot<kLanes>, TileMultiplier>(),
    kernels_with<IntegerTileDot, TileMultiplier>(),
#else
    kernels_with<BFloat16Dot<kLanes>>(),
    kernels_with<IntegerDot>(),
#endif
};

}  // namespace mbert::cpu::MBERT_ISA_NAME
