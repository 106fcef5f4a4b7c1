// mbert::VarlenPooling, version 1: one row for each packed sequence, for any device.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_VARLEN_POOLING_OP_H_
#define MBERT_PLUGINS_ONNXRUNTIME_VARLEN_POOLING_OP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "custom_op.h"

namespace mbert::ort {

// Everything except the computation. Params are the parameters of the device's kernel.
template <typename Params>
class VarlenPoolingOp {
 public:
  static constexpr const char* kName = "VarlenPooling";
  static constexpr std::size_t kInputs = 2;

  static ONNXTensorElementDataType input_type(std::size_t index, ONNXTensorElementDataType type) {
    return index == 0 ? type : ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
  }

  static Shape infer_shape(const std::vector<Shape>& inputs) {
    const Shape& hidden = inputs[0];
    const Shape& cu_seqlens = inputs[1];
    if (hidden.size() != 2 || cu_seqlens.size() != 1 || cu_seqlens[0].value == 0) return {};
    Dimension sequences = cu_seqlens[0];
    if (sequences.is_number()) {
      --sequences.value;
    } else if (sequences.is_known()) {
      sequences.symbol += " - 1";
    }
    return {sequences, hidden[1]};
  }

  VarlenPoolingOp(const OrtKernelInfo* info, ONNXTensorElementDataType type) {
    params_.type = element_type(type);
    require_valid(
        parse_pooling_mode(required_attribute<std::int64_t>(info, "mode"), &params_.mode));
  }

 protected:
  // Returns the parameters of a call, with the allocated output. Throws unless `check` accepts
  // them.
  Params bind(const Ort::KernelContext& context, std::string (*check)(const Params&)) const {
    const Ort::ConstValue hidden = context.GetInput(0);
    const Ort::ConstValue cu_seqlens = context.GetInput(1);
    const std::vector<std::int64_t> shape = shape_of(hidden, "hidden", 2);

    Params params = params_;
    params.hidden = hidden.GetTensorRawData();
    params.tokens = shape[0];
    params.columns = shape[1];
    params.cu_seqlens = cu_seqlens.GetTensorData<std::int32_t>();
    params.sequences = shape_of(cu_seqlens, "cu_seqlens", 1)[0] - 1;
    require_valid(check(params));
    params.pooled =
        context.GetOutput(0, {params.sequences, params.columns}).GetTensorMutableRawData();
    return params;
  }

 private:
  Params params_;  // the attribute; each call sets the rest
};

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_VARLEN_POOLING_OP_H_
