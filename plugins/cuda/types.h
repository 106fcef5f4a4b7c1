// What the CUDA kernels share in their public interfaces.
#ifndef MBERT_PLUGINS_CUDA_TYPES_H_
#define MBERT_PLUGINS_CUDA_TYPES_H_

#include <cstdint>

namespace mbert::cuda {

enum class ElementType { kFloat32, kFloat16, kBFloat16 };

inline std::int64_t element_size(ElementType type) { return type == ElementType::kFloat32 ? 4 : 2; }

// The most tokens, sequences and positions: sums of a few such numbers fit into an int.
constexpr std::int64_t kMaxRows = std::int64_t{1} << 29;

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_TYPES_H_
