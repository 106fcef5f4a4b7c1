#include "tensors.h"

#include <algorithm>
#include <iterator>

namespace mbert::trt {
namespace {

std::string text_of(const nvinfer1::Dims& dims) {
  std::string text = "[";
  for (std::int32_t i = 0; i < dims.nbDims; ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(dims.d[i]);
  }
  return text + "]";
}

}  // namespace

std::string type_name(nvinfer1::DataType type) {
  static constexpr const char* kNames[] = {"float32", "float16", "int8",   "int32",
                                           "bool",    "uint8",   "float8", "bfloat16",
                                           "int64",   "int4",    "float4"};
  const auto index = static_cast<std::size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "type " + std::to_string(index);
}

void require_type(const Input& input, nvinfer1::DataType type) {
  if (accepts(input, type)) return;
  throw Problem(std::string(input.name) + " is of type " + type_name(type) + "; it has to be " +
                (input.type ? type_name(*input.type) : "float32, float16 or bfloat16"));
}

void require_rank(const Input& input, const nvinfer1::Dims& dims) {
  if (dims.nbDims == input.rank) return;
  throw Problem(std::string(input.name) + " is " + text_of(dims) + ", of " +
                std::to_string(dims.nbDims) + " dimensions; it needs " +
                std::to_string(input.rank));
}

nvinfer1::Dims known_dims(const nvinfer1::DimsExprs& dims) {
  nvinfer1::Dims known{};
  known.nbDims = dims.nbDims;
  std::transform(dims.d, dims.d + std::max(dims.nbDims, 0), known.d,
                 [](const nvinfer1::IDimensionExpr* dim) {
                   return dim->isConstant() ? dim->getConstantValue() : -1;
                 });
  return known;
}

std::int64_t size(const Input& input, const nvinfer1::Dims& dims, std::int32_t axis) {
  if (dims.d[axis] >= 0) return dims.d[axis];
  throw Problem(std::string(input.name) + " is " + text_of(dims) + ": dimension " +
                std::to_string(axis) + " is not known yet");
}

}  // namespace mbert::trt
