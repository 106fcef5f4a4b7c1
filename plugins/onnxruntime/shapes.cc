#include "shapes.h"

#include <algorithm>
#include <memory>

namespace mbert::ort {
namespace {

// Reads an input's shape and type. The context owns the infos.
Shape input_shape(const OrtShapeInferContext* context, std::size_t index,
                  ONNXTensorElementDataType* type) {
  const OrtApi& api = Ort::GetApi();
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(api.ShapeInferContext_GetInputTypeShape(context, index, &info));
  Ort::ThrowOnError(api.GetTensorElementType(info, type));
  std::size_t rank = 0;
  Ort::ThrowOnError(api.GetDimensionsCount(info, &rank));
  std::vector<std::int64_t> values(rank);
  std::vector<const char*> symbols(rank);
  Ort::ThrowOnError(api.GetDimensions(info, values.data(), rank));
  Ort::ThrowOnError(api.GetSymbolicDimensions(info, symbols.data(), rank));
  Shape shape(rank);
  for (std::size_t i = 0; i < rank; ++i) {
    shape[i].value = values[i];
    if (symbols[i] != nullptr) shape[i].symbol = symbols[i];
  }
  return shape;
}

}  // namespace

void infer_output(OrtShapeInferContext* context, InferShape infer) {
  const OrtApi& api = Ort::GetApi();
  std::size_t count = 0;
  Ort::ThrowOnError(api.ShapeInferContext_GetInputCount(context, &count));
  // ONNX Runtime calls the first operator of a name for all element types: the type is that of the
  // first input, not of the operator.
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  std::vector<Shape> inputs(count);
  for (std::size_t i = count; i-- > 0;) inputs[i] = input_shape(context, i, &type);

  const Shape shape = infer(inputs);
  // An unknown dimension cannot be expressed: -1 would be taken for a size.
  if (shape.empty() ||
      !std::all_of(shape.begin(), shape.end(), [](const Dimension& d) { return d.is_known(); })) {
    return;
  }
  std::vector<std::int64_t> values;
  std::vector<const char*> symbols;
  for (const Dimension& dimension : shape) {
    values.push_back(dimension.value);
    symbols.push_back(dimension.is_number() ? "" : dimension.symbol.c_str());
  }
  // Ort::ShapeInferContext::SetOutputShape marks symbols in a way that newer versions reject.
  OrtTensorTypeAndShapeInfo* info = nullptr;
  Ort::ThrowOnError(api.CreateTensorTypeAndShapeInfo(&info));
  const std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)> owner(
      info, [](OrtTensorTypeAndShapeInfo* it) { Ort::GetApi().ReleaseTensorTypeAndShapeInfo(it); });
  Ort::ThrowOnError(api.SetTensorElementType(info, type));
  Ort::ThrowOnError(api.SetDimensions(info, values.data(), values.size()));
  Ort::ThrowOnError(api.SetSymbolicDimensions(info, symbols.data(), symbols.size()));
  Ort::ThrowOnError(api.ShapeInferContext_SetOutputTypeShape(context, 0, info));
}

}  // namespace mbert::ort
