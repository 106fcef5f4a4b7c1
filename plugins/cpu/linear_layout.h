// How the weights of linear layers lie: in panels of 16 outputs, [outputs / 16, inputs / n, 16, n],
// where n consecutive inputs lie together for each output.
#ifndef MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_
#define MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_

#include <cstdint>

namespace mbert::cpu {

enum class WeightType { kFloat32, kBFloat16, kInt8 };

constexpr std::int64_t kPanelColumns = 16;

// The n above: 16 columns of so many inputs are what one instruction of AVX-512 multiplies.
constexpr std::int64_t panel_inputs(WeightType type) {
  return type == WeightType::kInt8 ? 4 : type == WeightType::kBFloat16 ? 2 : 1;
}

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_LAYOUT_H_
