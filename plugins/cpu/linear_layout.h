// The memory layout of the weights of linear layers: panels of 16 outputs,
// [outputs / 16, inputs / n, 16, n], with n consecutive inputs of an output side by side.
#ifndef MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_
#define MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_

#include <cstdint>

namespace mbert::cpu {

enum class WeightType { kFloat32, kBFloat16, kInt8 };

constexpr std::int64_t kPanelColumns = 16;

// Returns n above: 16 columns of n inputs are the operand of one AVX-512 instruction.
constexpr std::int64_t panel_inputs(WeightType type) {
  return type == WeightType::kInt8 ? 4 : type == WeightType::kBFloat16 ? 2 : 1;
}

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_
