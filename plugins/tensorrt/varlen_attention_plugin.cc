// mbert::VarlenAttention, version 1: packed attention.
#include "cuda/varlen_attention.h"
#include "plugin.h"
#include "qkv.h"

namespace mbert::trt {
namespace {

class VarlenAttention {
 public:
  static constexpr const char* kName = "VarlenAttention";
  static constexpr Input kInputs[] = {{"qkv", 2, std::nullopt},
                                      {"cu_seqlens", 1, nvinfer1::DataType::kINT32},
                                      {"rope", 2, nvinfer1::DataType::kFLOAT}};

  struct Attributes {
    std::int32_t num_heads = 0;
    float scale = 0.0f;
    std::int32_t window = 0;

    template <typename Self, typename Fn>
    static void visit(Self& self, const Fn& fn) {
      fn("num_heads", self.num_heads);
      fn("scale", self.scale);
      fn("window", self.window);
    }
  };

  explicit VarlenAttention(const Attributes& attributes) {
    params_.num_heads = attributes.num_heads;
    params_.scale = attributes.scale;
    params_.window = attributes.window;
    require_valid(cuda::validate_attributes(params_));
  }

  void check(const nvinfer1::Dims* dims) const {
    const std::int64_t columns = dims[0].d[1];
    const std::int64_t head_dim = dims[2].d[1];
    if (columns < 0 || head_dim < 0) return;
    require_valid(validate_columns(columns, params_.num_heads, head_dim));
  }

  nvinfer1::DimsExprs output(const nvinfer1::DimsExprs* inputs,
                             nvinfer1::IExprBuilder& builder) const {
    const nvinfer1::IDimensionExpr& heads = *builder.constant(params_.num_heads);
    const nvinfer1::IDimensionExpr& head_dim = *inputs[2].d[1];
    return {
        2,
        {inputs[0].d[0], builder.operation(nvinfer1::DimensionOperation::kPROD, heads, head_dim)}};
  }

  cuda::VarlenAttentionParams params(ElementType type, const nvinfer1::Dims* dims) const {
    cuda::VarlenAttentionParams params = params_;
    params.type = type;
    params.tokens = size(kInputs[0], dims[0], 0);
    params.sequences = size(kInputs[1], dims[1], 0) - 1;
    params.max_position = size(kInputs[2], dims[2], 0);
    params.head_dim = size(kInputs[2], dims[2], 1);
    params.rotation = cuda::preferred_rotation(params.window);
    return params;
  }

  static std::size_t workspace(const cuda::VarlenAttentionParams& params) {
    return cuda::workspace_bytes(params);
  }

  static void bind(const void* const* inputs, void* output, void* workspace,
                   cuda::VarlenAttentionParams* params) {
    params->qkv = inputs[0];
    params->cu_seqlens = static_cast<const std::int32_t*>(inputs[1]);
    params->rope = static_cast<const float*>(inputs[2]);
    params->context = output;
    params->workspace = workspace;
  }

 private:
  cuda::VarlenAttentionParams params_;  // the attributes; each call sets the rest
};

}  // namespace

nvinfer1::IPluginCreatorInterface* varlen_attention_creator() {
  static Creator<VarlenAttention> creator;
  return &creator;
}

}  // namespace mbert::trt
