// Shape inference for the operators.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_
#define MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "api.h"

namespace mbert::ort {

struct Dimension {
  std::int64_t value = -1;  // -1: not a number, but maybe a symbol
  std::string symbol;       // equal symbols mean equal sizes

  bool is_number() const { return value >= 0; }
  bool is_known() const { return is_number() || !symbol.empty(); }
};

// Empty: nothing is known, which is always a correct thing to say.
using Shape = std::vector<Dimension>;
using InferShape = Shape (*)(const std::vector<Shape>& inputs);

// Gives the node's only output the type of its first input and the shape that infer() finds. Throws
// Ort::Exception.
void infer_output(OrtShapeInferContext* context, InferShape infer);

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_SHAPES_H_
