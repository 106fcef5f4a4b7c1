// TensorRT's plugin interface, implemented for any operator.
//
// Operator defines one by
//   kName, kInputs (the first input and the only output have the operator's element type)
//   Attributes    see attributes.h; the constructor Operator(attributes) throws Problem if they are
//                 invalid
//   check(dims)   throws Problem if the known sizes of the inputs do not fit
//   output(inputs, builder)                   returns the output's shape
//   params(type, dims)                        returns the kernel's parameters, without pointers
//   workspace(params)                         returns the bytes of workspace
//   bind(inputs, output, workspace, &params)  sets the pointers
// The kernel's parameters have validate_shapes(), validate() and launch() in namespace mbert::cuda.
//
// There are no tactics, even if a kernel has variants. TensorRT times tactics on inputs that it
// makes up, but the work depends on the values of cu_seqlens: with zeros, all rows are slack. It
// would compare the variants at doing nothing, and keep the result in its timing cache.
#ifndef MBERT_PLUGINS_TENSORRT_PLUGIN_H_
#define MBERT_PLUGINS_TENSORRT_PLUGIN_H_

#include <NvInferRuntime.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "attributes.h"
#include "cuda/launch_problem.h"
#include "logging.h"
#include "tensors.h"
#include "version.h"

namespace mbert::trt {

constexpr const char* kNamespace = "mbert";
// The version of the operators, as in ONNX (docs/operators.md), not that of mbert.
constexpr const char* kVersion = "1";

constexpr std::int32_t kSuccess = 0;
constexpr std::int32_t kFailure = -1;

// Returns the collection that TensorRT reads. It is valid as long as the fields are.
inline nvinfer1::PluginFieldCollection collection(
    const std::vector<nvinfer1::PluginField>& fields) {
  return {static_cast<std::int32_t>(fields.size()), fields.data()};
}

template <typename Operator>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  using Attributes = typename Operator::Attributes;

  // `layer` names the plugin in messages. Throws Problem.
  Plugin(const std::string& layer, const Attributes& attributes)
      : attributes_(attributes),
        operator_(attributes),
        subject_(Operator::kName + (layer.empty() ? "" : " '" + layer + "'")),
        metadata_(text_of(attributes)),
        // Another version of mbert may have another kernel, with other timings.
        timing_id_(metadata_ + " mbert=" + version()) {}

  // IPluginV3

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  nvinfer1::IPluginV3* clone() noexcept override {
    return guarded<nvinfer1::IPluginV3*>(subject_, nullptr, [this] { return new Plugin(*this); });
  }

  // IPluginV3OneCore

  const char* getPluginName() const noexcept override { return Operator::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  // IPluginV3OneBuild

  std::int32_t getNbOutputs() const noexcept override { return 1; }

  std::int32_t getOutputDataTypes(nvinfer1::DataType* outputs, std::int32_t output_count,
                                  const nvinfer1::DataType* inputs,
                                  std::int32_t input_count) const noexcept override {
    return attempt([&] {
      require_counts(input_count, output_count);
      for (std::int32_t i = 0; i < kInputCount; ++i) require_type(Operator::kInputs[i], inputs[i]);
      outputs[0] = inputs[0];
    });
  }

  std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t input_count,
                               const nvinfer1::DimsExprs* /*shape_inputs*/,
                               std::int32_t /*shape_input_count*/, nvinfer1::DimsExprs* outputs,
                               std::int32_t output_count,
                               nvinfer1::IExprBuilder& builder) noexcept override {
    return attempt([&] {
      require_counts(input_count, output_count);
      nvinfer1::Dims dims[kInputCount];
      std::transform(inputs, inputs + kInputCount, dims, known_dims);
      check(dims);
      outputs[0] = operator_.output(inputs, builder);
    });
  }

  bool supportsFormatCombination(std::int32_t position,
                                 const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 std::int32_t input_count,
                                 std::int32_t output_count) noexcept override {
    if (input_count != kInputCount || output_count != 1) return false;
    if (position < 0 || position > kInputCount) return false;
    const nvinfer1::PluginTensorDesc& tensor = tensors[position].desc;
    if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
    return position == kInputCount ? tensor.type == tensors[0].desc.type
                                   : accepts(Operator::kInputs[position], tensor.type);
  }

  std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs,
                               std::int32_t input_count,
                               const nvinfer1::DynamicPluginTensorDesc* /*outputs*/,
                               std::int32_t output_count) noexcept override {
    return attempt([&] {
      require_counts(input_count, output_count);
      nvinfer1::Dims dims[kInputCount];
      std::transform(inputs, inputs + kInputCount, dims,
                     [](const auto& input) { return input.desc.dims; });
      check(dims);
      require_valid(validate_shapes(largest(inputs)));
    });
  }

  std::size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs,
                               std::int32_t input_count,
                               const nvinfer1::DynamicPluginTensorDesc* /*outputs*/,
                               std::int32_t output_count) const noexcept override {
    return guarded<std::size_t>(subject_, 0, [&] {
      require_counts(input_count, output_count);
      return Operator::workspace(largest(inputs));
    });
  }

  const char* getTimingCacheID() noexcept override { return timing_id_.c_str(); }
  const char* getMetadataString() noexcept override { return metadata_.c_str(); }

  // IPluginV3OneRuntime

  std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, std::int32_t input_count,
                             const nvinfer1::PluginTensorDesc* /*outputs*/,
                             std::int32_t output_count) noexcept override {
    return attempt([&] {
      require_counts(input_count, output_count);
      require_valid(validate_shapes(params(inputs)));
    });
  }

  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* input_descs,
                       const nvinfer1::PluginTensorDesc* /*output_descs*/,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override {
    return attempt([&] {
      auto bound = params(input_descs);
      Operator::bind(inputs, outputs[0], workspace, &bound);
      require_valid(cuda::launch_problem(launch(bound, stream), bound));
    });
  }

  nvinfer1::IPluginV3* attachToContext(
      nvinfer1::IPluginResourceContext* /*context*/) noexcept override {
    return clone();
  }

  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override {
    return guarded<const nvinfer1::PluginFieldCollection*>(subject_, nullptr, [this] {
      fields_ = serialized_fields(attributes_);
      collection_ = collection(fields_);
      return &collection_;
    });
  }

 private:
  static constexpr auto kInputCount = static_cast<std::int32_t>(std::size(Operator::kInputs));

  Plugin(const Plugin&) = default;

  template <typename Fn>
  std::int32_t attempt(const Fn& fn) const noexcept {
    return guarded(subject_, kFailure, [&fn] {
      fn();
      return kSuccess;
    });
  }

  static void require_counts(std::int32_t inputs, std::int32_t outputs) {
    if (inputs == kInputCount && outputs == 1) return;
    throw Problem("it has " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                  " outputs; it needs " + std::to_string(kInputCount) + " and 1");
  }

  void check(const nvinfer1::Dims* dims) const {
    for (std::int32_t i = 0; i < kInputCount; ++i) require_rank(Operator::kInputs[i], dims[i]);
    operator_.check(dims);
  }

  auto params(nvinfer1::DataType type, const nvinfer1::Dims* dims) const {
    require_type(Operator::kInputs[0], type);
    check(dims);
    return operator_.params(*element_type(type), dims);
  }

  auto largest(const nvinfer1::DynamicPluginTensorDesc* inputs) const {
    nvinfer1::Dims dims[kInputCount];
    std::transform(inputs, inputs + kInputCount, dims, [](const auto& input) { return input.max; });
    return params(inputs[0].desc.type, dims);
  }

  auto params(const nvinfer1::PluginTensorDesc* inputs) const {
    nvinfer1::Dims dims[kInputCount];
    std::transform(inputs, inputs + kInputCount, dims,
                   [](const auto& input) { return input.dims; });
    return params(inputs[0].type, dims);
  }

  Attributes attributes_;
  Operator operator_;
  std::string subject_;
  std::string metadata_;
  std::string timing_id_;
  // The last result of getFieldsToSerialize().
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

template <typename Operator>
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase /*phase*/) noexcept override {
    // The fields are the same in both phases.
    return guarded<nvinfer1::IPluginV3*>(Operator::kName, nullptr, [&] {
      const std::string layer = name == nullptr ? "" : name;
      try {
        return new Plugin<Operator>(layer, read_attributes<typename Operator::Attributes>(fields));
      } catch (const Problem& problem) {
        throw Problem("layer '" + layer + "': " + problem.what());
      }
    });
  }

  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return Operator::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

 private:
  std::vector<nvinfer1::PluginField> fields_ = declared_fields<typename Operator::Attributes>();
  nvinfer1::PluginFieldCollection collection_ = collection(fields_);
};

// Each is defined in the operator's own file.
nvinfer1::IPluginCreatorInterface* varlen_attention_creator();
nvinfer1::IPluginCreatorInterface* varlen_pooling_creator();

}  // namespace mbert::trt

#endif  // MBERT_PLUGINS_TENSORRT_PLUGIN_H_
