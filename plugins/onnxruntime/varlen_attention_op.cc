// mbert::VarlenAttention, version 1: packed attention on the CPU.

#include "custom_op.h"
#include "isa.h"
#include "varlen_attention.h"

namespace mbert::ort {
namespace {

class VarlenAttentionKernel {
 public:
  static constexpr const char* kName = "VarlenAttention";
  static constexpr std::size_t kInputs = 3;

  static ONNXTensorElementDataType input_type(std::size_t index, ONNXTensorElementDataType type) {
    if (index == 0) return type;
    return index == 1 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  }

  static Shape infer_shape(const std::vector<Shape>& inputs) {
    const Shape& qkv = inputs[0];
    // Anything else is either not known or an error, which compute() explains.
    if (qkv.size() != 2 || !qkv[1].is_number()) return {};
    return {qkv[0], Dimension{qkv[1].value / 3, ""}};
  }

  VarlenAttentionKernel(const OrtKernelInfo* info, ONNXTensorElementDataType type) {
    params_.type = element_type(type);
    params_.num_heads = required_attribute<std::int64_t>(info, "num_heads");
    params_.scale = required_attribute<float>(info, "scale");
    params_.window = required_attribute<std::int64_t>(info, "window");
    require_valid(cpu::validate_attributes(params_));
    require_valid(cpu::choose_isa(&isa_));
  }

  void compute(const Ort::KernelContext& context) const {
    const Ort::ConstValue qkv = context.GetInput(0);
    const Ort::ConstValue cu_seqlens = context.GetInput(1);
    const Ort::ConstValue rope = context.GetInput(2);
    const std::vector<std::int64_t> qkv_shape = shape_of(qkv, "qkv", 2);
    const std::vector<std::int64_t> rope_shape = shape_of(rope, "rope", 2);

    cpu::VarlenAttentionParams params = params_;
    params.qkv = qkv.GetTensorRawData();
    params.tokens = qkv_shape[0];
    params.cu_seqlens = cu_seqlens.GetTensorData<std::int32_t>();
    params.sequences = shape_of(cu_seqlens, "cu_seqlens", 1)[0] - 1;
    params.rope = rope.GetTensorData<float>();
    params.max_position = rope_shape[0];
    params.head_dim = rope_shape[1];
    require_valid(cpu::validate(params));
    const std::int64_t hidden = params.num_heads * params.head_dim;
    if (qkv_shape[1] != 3 * hidden) {
      throw Ort::Exception("qkv has " + std::to_string(qkv_shape[1]) + " columns; " +
                               std::to_string(params.num_heads) + " heads (num_heads) of " +
                               std::to_string(params.head_dim) +
                               " (the columns of rope) need 3 * " + std::to_string(hidden) + " = " +
                               std::to_string(3 * hidden),
                           ORT_INVALID_ARGUMENT);
    }
    params.context = context.GetOutput(0, {params.tokens, hidden}).GetTensorMutableRawData();
    cpu::run(params, isa_, parallel_for(context));
  }

 private:
  cpu::VarlenAttentionParams params_;  // the attributes; the rest comes with each call
  cpu::Isa isa_ = cpu::Isa::kScalar;
};

}  // namespace

std::vector<const OrtCustomOp*> varlen_attention_ops() { return ops_of<VarlenAttentionKernel>(); }

}  // namespace mbert::ort
