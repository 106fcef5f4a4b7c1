// Shape inference for the operators.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_
#define MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "api.h"

namespace mbert::ort {

struct Dimension {
  std::int64_t value = -1;  // -1 if it is not a number
  std::string symbol;       // dimensions with equal symbols are equal

  bool is_number() const { return value >= 0; }
  bool is_known() const { return is_number() || !symbol.empty(); }
};

// Empty if nothing is known, which is always allowed.
using Shape = std::vector<Dimension>;
using InferShape = Shape (*)(const std::vector<Shape>& inputs);

// Sets the type of the node's only output to that of its first input, and its shape to the result
// of infer(). Throws Ort::Exception.
void infer_output(OrtShapeInferContext* context, InferShape infer);

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_
