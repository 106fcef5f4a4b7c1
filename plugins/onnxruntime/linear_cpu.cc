// mbert::Linear, mbert::QuantizedLinear and their variants, version 1, on the CPU. They share one
// kernel; an operator's name determines its form (norm, residual, gates) and the type of its
// weights.
#include <cstdint>
#include <vector>

#include "custom_op.h"
#include "isa.h"
#include "linear.h"
#include "operators.h"
#include "parallel_for.h"
#include "scratch.h"

namespace mbert::ort {
namespace {

// The types of weights.
struct Float32 {
  static constexpr cpu::WeightType kType = cpu::WeightType::kFloat32;
  static constexpr ONNXTensorElementDataType kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
};

struct BFloat16 {
  static constexpr cpu::WeightType kType = cpu::WeightType::kBFloat16;
  static constexpr ONNXTensorElementDataType kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
};

struct Int8 {
  static constexpr cpu::WeightType kType = cpu::WeightType::kInt8;
  static constexpr ONNXTensorElementDataType kElement = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
};

// The forms, with the names of the operators with float and with quantized weights.
struct Plain {
  static constexpr const char* kNames[] = {"Linear", "QuantizedLinear"};
  static constexpr bool kNorm = false, kResidual = false, kGated = false;
};

struct Residual {
  static constexpr const char* kNames[] = {"ResidualLinear", "QuantizedResidualLinear"};
  static constexpr bool kNorm = false, kResidual = true, kGated = false;
};

struct Norm {
  static constexpr const char* kNames[] = {"NormLinear", "QuantizedNormLinear"};
  static constexpr bool kNorm = true, kResidual = false, kGated = false;
};

struct NormGated {
  static constexpr const char* kNames[] = {"NormGatedLinear", "QuantizedNormGatedLinear"};
  static constexpr bool kNorm = true, kResidual = false, kGated = true;
};

// Inputs: x; norm_weight and norm_bias; weight, weight_scale (int8 only), bias; residual.
template <typename Weights, typename Form>
class LinearKernel {
  static constexpr bool kQuantized = Weights::kType == cpu::WeightType::kInt8;
  static constexpr std::size_t kWeight = Form::kNorm ? 3 : 1;
  static constexpr std::size_t kBias = kWeight + (kQuantized ? 2 : 1);

 public:
  static constexpr const char* kName = Form::kNames[kQuantized ? 1 : 0];
  static constexpr std::size_t kInputs = kBias + 1 + (Form::kResidual ? 1 : 0);

  static ONNXTensorElementDataType input_type(std::size_t index, ONNXTensorElementDataType type) {
    return index == kWeight ? Weights::kElement : type;
  }

  static Shape infer_shape(const std::vector<Shape>& inputs) {
    const Shape& x = inputs[0];
    const Shape& weight = inputs[kWeight];
    if (x.size() != 2 || weight.size() != 4 || !weight[0].is_number()) return {};
    Dimension columns;
    columns.value = weight[0].value * cpu::kPanelColumns / (Form::kGated ? 2 : 1);
    return {x[0], columns};
  }

  LinearKernel(const OrtKernelInfo* info, ONNXTensorElementDataType /*type*/) {
    require_valid(cpu::choose_isa(&isa_));
    if (Form::kNorm) params_.epsilon = required_attribute<float>(info, "epsilon");
    params_.weight_type = Weights::kType;
    params_.gated = Form::kGated;
    if (Form::kGated) {
      require_valid(parse_activation(required_attribute<std::int64_t>(info, "activation"),
                                     &params_.activation));
    }
  }

  void compute(const Ort::KernelContext& context) const {
    cpu::LinearParams params = params_;
    const Ort::ConstValue x = context.GetInput(0);
    const std::vector<std::int64_t> shape = shape_of(x, "x", 2);
    params.x = x.GetTensorData<float>();
    params.tokens = shape[0];
    params.inputs = shape[1];

    const Ort::ConstValue weight = context.GetInput(kWeight);
    const std::vector<std::int64_t> panels = shape_of(weight, "weight", 4);
    params.weight = weight.GetTensorRawData();
    params.outputs = panels[0] * cpu::kPanelColumns;
    constexpr std::int64_t kTogether = cpu::panel_inputs(Weights::kType);
    require_shape("weight", panels,
                  {panels[0], params.inputs / kTogether, cpu::kPanelColumns, kTogether});
    require_valid(cpu::validate(params));

    if (kQuantized) {
      params.weight_scale = floats(context, kWeight + 1, "weight_scale", {params.outputs});
    }
    params.bias = floats(context, kBias, "bias", {params.outputs});
    if (Form::kNorm) {
      params.norm_weight = floats(context, 1, "norm_weight", {params.inputs});
      params.norm_bias = floats(context, 2, "norm_bias", {params.inputs});
    }
    const std::vector<std::int64_t> result = {params.tokens, params.columns()};
    if (Form::kResidual) params.residual = floats(context, kBias + 1, "residual", result);
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

  cpu::LinearParams params_;  // the attributes; each call sets the rest
  cpu::Isa isa_ = cpu::Isa::kScalar;
};

template <typename Weights, typename Form>
const OrtCustomOp* op() {
  static const CustomOp<LinearKernel<Weights, Form>> only(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                                          kCpuProvider);
  return &only;
}

template <typename Weights>
OperatorList forms() {
  return {op<Weights, Plain>(), op<Weights, Residual>(), op<Weights, Norm>(),
          op<Weights, NormGated>()};
}

}  // namespace

OperatorList linear_cpu() { return joined({forms<Float32>(), forms<BFloat16>(), forms<Int8>()}); }

}  // namespace mbert::ort
