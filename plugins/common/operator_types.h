// Element types, attribute values and attribute checks of the operators, for all devices.
#ifndef MBERT_PLUGINS_COMMON_OPERATOR_TYPES_H_
#define MBERT_PLUGINS_COMMON_OPERATOR_TYPES_H_

#include <cmath>
#include <cstdint>
#include <string>

namespace mbert {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

inline std::int64_t element_size(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

// The values of the attribute `mode` of VarlenPooling.
enum class PoolingMode : std::int64_t {
  kCls = 0,
  kMean = 1,
  kMax = 2,
  kMeanSqrtLen = 3,
  kLastToken = 4,
  kWeightedMean = 5,
};

// Sets *mode to the mode of that value. Returns an empty string, or else an error message.
inline std::string parse_pooling_mode(std::int64_t value, PoolingMode* mode) {
  if (value < 0 || value > static_cast<std::int64_t>(PoolingMode::kWeightedMean)) {
    return "mode is " + std::to_string(value) +
           "; it has to be 0 (cls), 1 (mean), 2 (max), 3 (mean_sqrt_len_tokens), 4 (lasttoken) or "
           "5 (weightedmean)";
  }
  *mode = static_cast<PoolingMode>(value);
  return {};
}

// The values of the attribute `activation` of NormGatedLinear and QuantizedNormGatedLinear.
enum class Activation : std::int64_t { kGelu = 0, kSilu = 1, kRelu = 2, kGeluTanh = 3 };

// Sets *activation to the one of that value. Returns an empty string, or else an error message.
inline std::string parse_activation(std::int64_t value, Activation* activation) {
  if (value < 0 || value > 3) {
    return "activation is " + std::to_string(value) +
           "; it has to be 0 (gelu), 1 (silu), 2 (relu) or 3 (gelu_pytorch_tanh)";
  }
  *activation = static_cast<Activation>(value);
  return {};
}

// The softmax uses powers of two: scores are multiplied by scale * log2(e).
constexpr float kLog2E = 1.44269504088896340736f;

// Checks the attributes of VarlenAttention. Returns an empty string, or else an error message.
inline std::string validate_attention_attributes(std::int64_t num_heads, std::int64_t most_heads,
                                                 float scale, std::int64_t window) {
  if (num_heads < 1 || num_heads > most_heads) {
    return "num_heads is " + std::to_string(num_heads) + "; it has to be from 1 to " +
           std::to_string(most_heads);
  }
  if (window < -1) {
    return "window is " + std::to_string(window) +
           "; it has to be -1 (the whole sequence) or the distance of the farthest token seen";
  }
  if (!std::isfinite(scale * kLog2E)) {
    return "scale is " + std::to_string(scale) +
           "; it has to be a number between -2.3e38 and 2.3e38";
  }
  return {};
}

}  // namespace mbert

#endif  // MBERT_PLUGINS_COMMON_OPERATOR_TYPES_H_
