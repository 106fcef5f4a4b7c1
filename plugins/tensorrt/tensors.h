// The types and shapes of an operator's inputs.
#ifndef MBERT_PLUGINS_TENSORRT_TENSORS_H_
#define MBERT_PLUGINS_TENSORRT_TENSORS_H_

#include <NvInferRuntime.h>

#include <cstdint>
#include <optional>
#include <string>

#include "common/operator_types.h"
#include "logging.h"

namespace mbert::trt {

struct Input {
  const char* name;
  std::int32_t rank;
  // Empty for the first input, which may have any element type; the output has the same.
  std::optional<nvinfer1::DataType> type;
};

// Returns the element type, or nothing if the operators do not support the type.
inline std::optional<ElementType> element_type(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return ElementType::kFloat32;
    case nvinfer1::DataType::kHALF:
      return ElementType::kFloat16;
    case nvinfer1::DataType::kBF16:
      return ElementType::kBFloat16;
    default:
      return std::nullopt;
  }
}

inline bool accepts(const Input& input, nvinfer1::DataType type) {
  return input.type ? type == *input.type : element_type(type).has_value();
}

std::string type_name(nvinfer1::DataType type);

// Throw Problem if the input has another type or rank.
void require_type(const Input& input, nvinfer1::DataType type);
void require_rank(const Input& input, const nvinfer1::Dims& dims);

// Returns the dimensions that are known while an engine is built; the others are -1.
nvinfer1::Dims known_dims(const nvinfer1::DimsExprs& dims);

// Returns a dimension. Throws Problem if it is not known yet.
std::int64_t size(const Input& input, const nvinfer1::Dims& dims, std::int32_t axis);

}  // namespace mbert::trt

#endif  // MBERT_PLUGINS_TENSORRT_TENSORS_H_
