// How the bytes of quantized weights lie.
#ifndef MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_LAYOUT_H_
#define MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_LAYOUT_H_

#include <cstdint>

namespace mbert::cpu {

// Columns of a panel of weights, and the consecutive inputs that lie together for each of them: 16
// columns of 4 bytes are what one instruction multiplies on VNNI.
constexpr std::int64_t kPanelColumns = 16;
constexpr std::int64_t kPanelInputs = 4;

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_LAYOUT_H_
