// mbert::QuantizedLinear and its relatives, version 1, on the CPU: one kernel, with what stands
// before and after the product by the operator's name.
#include <cstdint>
#include <vector>

#include "custom_op.h"
#include "isa.h"
#include "operators.h"
#include "parallel_for.h"
#include "quantized_linear.h"
#include "scratch.h"

namespace mbert::ort {
namespace {

struct Plain {
  static constexpr const char* kName = "QuantizedLinear";
  static constexpr bool kNorm = false, kResidual = false, kGated = false;
};

struct Residual {
  static constexpr const char* kName = "QuantizedResidualLinear";
  static constexpr bool kNorm = false, kResidual = true, kGated = false;
};

struct Norm {
  static constexpr const char* kName = "QuantizedNormLinear";
  static constexpr bool kNorm = true, kResidual = false, kGated = false;
};

struct NormGated {
  static constexpr const char* kName = "QuantizedNormGatedLinear";
  static constexpr bool kNorm = true, kResidual = false, kGated = true;
};

// Inputs: x; norm_weight and norm_bias; weight, weight_scale, bias; residual.
template <typename Form>
class QuantizedLinearKernel {
  static constexpr std::size_t kWeight = Form::kNorm ? 3 : 1;

 public:
  static constexpr const char* kName = Form::kName;
  static constexpr std::size_t kInputs = kWeight + 3 + (Form::kResidual ? 1 : 0);

  static ONNXTensorElementDataType input_type(std::size_t index, ONNXTensorElementDataType type) {
    return index == kWeight ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : type;
  }

  static Shape infer_shape(const std::vector<Shape>& inputs) {
    const Shape& x = inputs[0];
    const Shape& weight = inputs[kWeight];
    if (x.size() != 2 || weight.size() != 4 || !weight[0].is_number()) return {};
    Dimension columns;
    columns.value = weight[0].value * cpu::kPanelColumns / (Form::kGated ? 2 : 1);
    return {x[0], columns};
  }

  QuantizedLinearKernel(const OrtKernelInfo* info, ONNXTensorElementDataType /*type*/) {
    require_valid(cpu::choose_isa(&isa_));
    if (Form::kNorm) params_.epsilon = required_attribute<float>(info, "epsilon");
    params_.gated = Form::kGated;
    if (Form::kGated) {
      require_valid(parse_activation(required_attribute<std::int64_t>(info, "activation"),
                                     &params_.activation));
    }
  }

  void compute(const Ort::KernelContext& context) const {
    cpu::QuantizedLinearParams params = params_;
    const Ort::ConstValue x = context.GetInput(0);
    const std::vector<std::int64_t> shape = shape_of(x, "x", 2);
    params.x = x.GetTensorData<float>();
    params.tokens = shape[0];
    params.inputs = shape[1];

    const Ort::ConstValue weight = context.GetInput(kWeight);
    const std::vector<std::int64_t> panels = shape_of(weight, "weight", 4);
    params.weight = weight.GetTensorData<std::uint8_t>();
    params.outputs = panels[0] * cpu::kPanelColumns;
    require_shape(
        "weight", panels,
        {panels[0], params.inputs / cpu::kPanelInputs, cpu::kPanelColumns, cpu::kPanelInputs});
    require_valid(cpu::validate(params));

    params.weight_scale = floats(context, kWeight + 1, "weight_scale", {params.outputs});
    params.bias = floats(context, kWeight + 2, "bias", {params.outputs});
    if (Form::kNorm) {
      params.norm_weight = floats(context, 1, "norm_weight", {params.inputs});
      params.norm_bias = floats(context, 2, "norm_bias", {params.inputs});
    }
    const std::vector<std::int64_t> result = {params.tokens, params.columns()};
    if (Form::kResidual) params.residual = floats(context, kWeight + 3, "residual", result);
    params.out = context.GetOutput(0, result).GetTensorMutableData<float>();
    const Scratch scratch(context, cpu::scratch_bytes(params, isa_));
    cpu::run(params, isa_, scratch.data(), parallel_for(context));
  }

 private:
  static const float* floats(const Ort::KernelContext& context, std::size_t index, const char* name,
                             const std::vector<std::int64_t>& expected) {
    const Ort::ConstValue value = context.GetInput(index);
    require_shape(name, shape_of(value, name, expected.size()), expected);
    return value.GetTensorData<float>();
  }

  cpu::QuantizedLinearParams params_;  // the attributes; the rest comes with each call
  cpu::Isa isa_ = cpu::Isa::kScalar;
};

template <typename Form>
const OrtCustomOp* op() {
  static const CustomOp<QuantizedLinearKernel<Form>> only(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                                          kCpuProvider);
  return &only;
}

}  // namespace

OperatorList quantized_linear_cpu() {
  return {op<Plain>(), op<Residual>(), op<Norm>(), op<NormGated>()};
}

}  // namespace mbert::ort
