// mbert::VarlenPooling, version 1: one row for each packed sequence.
#include "cuda/pooling.h"
#include "plugin.h"

namespace mbert::trt {
namespace {

class VarlenPooling {
 public:
  static constexpr const char* kName = "VarlenPooling";
  static constexpr Input kInputs[] = {{"hidden", 2, std::nullopt},
                                      {"cu_seqlens", 1, nvinfer1::DataType::kINT32}};

  struct Attributes {
    std::int32_t mode = 0;

    template <typename Self, typename Fn>
    static void visit(Self& self, const Fn& fn) {
      fn("mode", self.mode);
    }
  };

  explicit VarlenPooling(const Attributes& attributes) {
    require_valid(parse_pooling_mode(attributes.mode, &params_.mode));
  }

  void check(const nvinfer1::Dims* /*dims*/) const {}

  nvinfer1::DimsExprs output(const nvinfer1::DimsExprs* inputs,
                             nvinfer1::IExprBuilder& builder) const {
    const nvinfer1::IDimensionExpr& offsets = *inputs[1].d[0];
    return {2,
            {builder.operation(nvinfer1::DimensionOperation::kSUB, offsets, *builder.constant(1)),
             inputs[0].d[1]}};
  }

  cuda::VarlenPoolingParams params(ElementType type, const nvinfer1::Dims* dims) const {
    cuda::VarlenPoolingParams params = params_;
    params.type = type;
    params.tokens = size(kInputs[0], dims[0], 0);
    params.columns = size(kInputs[0], dims[0], 1);
    params.sequences = size(kInputs[1], dims[1], 0) - 1;
    return params;
  }

  static std::size_t workspace(const cuda::VarlenPoolingParams& /*params*/) { return 0; }

  static void bind(const void* const* inputs, void* output, void* /*workspace*/,
                   cuda::VarlenPoolingParams* params) {
    params->hidden = inputs[0];
    params->cu_seqlens = static_cast<const std::int32_t*>(inputs[1]);
    params->pooled = output;
  }

 private:
  cuda::VarlenPoolingParams params_;  // the attribute; each call sets the rest
};

}  // namespace

nvinfer1::IPluginCreatorInterface* varlen_pooling_creator() {
  static Creator<VarlenPooling> creator;
  return &creator;
}

}  // namespace mbert::trt
