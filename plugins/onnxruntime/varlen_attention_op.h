// mbert::VarlenAttention, version 1: packed attention, for any device.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_VARLEN_ATTENTION_OP_H_
#define MBERT_PLUGINS_ONNXRUNTIME_VARLEN_ATTENTION_OP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "custom_op.h"
#include "qkv.h"

namespace mbert::ort {

// Everything except the computation. Params are the parameters of the device's kernel.
template <typename Params>
class VarlenAttentionOp {
 public:
  static constexpr const char* kName = "VarlenAttention";
  static constexpr std::size_t kInputs = 3;

  static ONNXTensorElementDataType input_type(std::size_t index, ONNXTensorElementDataType type) {
    if (index == 0) return type;
    return index == 1 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

  static Shape infer_shape(const std::vector<Shape>& inputs) {
    const Shape& qkv = inputs[0];
    // Anything else is unknown, or an error that compute() reports.
    if (qkv.size() != 2 || !qkv[1].is_number()) return {};
    return {qkv[0], Dimension{qkv[1].value / 3, ""}};
  }

  VarlenAttentionOp(const OrtKernelInfo* info, ONNXTensorElementDataType type) {
    params_.type = element_type(type);
    params_.num_heads = required_attribute<std::int64_t>(info, "num_heads");
    params_.scale = required_attribute<float>(info, "scale");
    params_.window = required_attribute<std::int64_t>(info, "window");
    require_valid(validate_attributes(params_));
  }

 protected:
  // Returns the parameters of a call, with the allocated output. Throws unless `check` accepts
  // them.
  Params bind(const Ort::KernelContext& context, std::string (*check)(const Params&)) const {
    const Ort::ConstValue qkv = context.GetInput(0);
    const Ort::ConstValue cu_seqlens = context.GetInput(1);
    const Ort::ConstValue rope = context.GetInput(2);
    const std::vector<std::int64_t> qkv_shape = shape_of(qkv, "qkv", 2);
    const std::vector<std::int64_t> rope_shape = shape_of(rope, "rope", 2);

    Params params = params_;
    params.qkv = qkv.GetTensorRawData();
    params.tokens = qkv_shape[0];
    params.cu_seqlens = cu_seqlens.GetTensorData<std::int32_t>();
    params.sequences = shape_of(cu_seqlens, "cu_seqlens", 1)[0] - 1;
    params.rope = rope.GetTensorData<float>();
    params.max_position = rope_shape[0];
    params.head_dim = rope_shape[1];
    require_valid(check(params));
    require_valid(validate_columns(qkv_shape[1], params.num_heads, params.head_dim));
    params.context = context.GetOutput(0, {params.tokens, params.num_heads * params.head_dim})
                         .GetTensorMutableRawData();
    return params;
  }

 private:
  Params params_;  // the attributes; each call sets the rest
};

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_VARLEN_ATTENTION_OP_H_
