// The base of all custom operators: element types, errors, shapes.
#ifndef MBERT_PLUGINS_ONNXRUNTIME_CUSTOM_OP_H_
#define MBERT_PLUGINS_ONNXRUNTIME_CUSTOM_OP_H_

#include <cstdint>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "api.h"
#include "common/operator_types.h"
#include "operators.h"
#include "shapes.h"

namespace mbert::ort {

constexpr ONNXTensorElementDataType kFloatTypes[] = {
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
};

inline ElementType element_type(ONNXTensorElementDataType type) {
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16) return ElementType::kFloat16;
  if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16) return ElementType::kBFloat16;
  return ElementType::kFloat32;
}

// Runs fn and converts an exception into a status: no exception may reach ONNX Runtime.
template <typename Fn>
OrtStatus* guarded(const char* op, const Fn& fn) noexcept {
  std::string message;
  OrtErrorCode code = ORT_FAIL;
  try {
    try {
      fn();
      return nullptr;
    } catch (const Ort::Exception& error) {
      message = std::string(op) + ": " + error.what();
      code = error.GetOrtErrorCode();
    } catch (const std::exception& error) {
      message = std::string(op) + ": " + error.what();
    }
  } catch (...) {
    // There was no memory for the message.
    return Ort::GetApi().CreateStatus(ORT_FAIL, "mbert: an operator failed for an unknown reason");
  }
  return Ort::GetApi().CreateStatus(code, message.c_str());
}

// Throws the error message of a validation, unless it is empty.
inline void require_valid(std::string problem) {
  if (!problem.empty()) throw Ort::Exception(std::move(problem), ORT_INVALID_ARGUMENT);
}

template <typename Value>
Value required_attribute(const OrtKernelInfo* info, const char* name) {
  try {
    return Ort::ConstKernelInfo(info).GetAttribute<Value>(name);
  } catch (const Ort::Exception&) {
    throw Ort::Exception("the attribute '" + std::string(name) + "' is missing or has a wrong type",
                         ORT_INVALID_ARGUMENT);
  }
}

// Returns the tensor's shape. Throws if it has another rank.
inline std::vector<std::int64_t> shape_of(const Ort::ConstValue& value, const char* name,
                                          std::size_t rank) {
  std::vector<std::int64_t> shape = value.GetTensorTypeAndShapeInfo().GetShape();
  if (shape.size() != rank) {
    throw Ort::Exception("the input '" + std::string(name) + "' has " +
                             std::to_string(shape.size()) + " dimensions; it needs " +
                             std::to_string(rank),
                         ORT_INVALID_ARGUMENT);
  }
  return shape;
}

// Throws if the tensor has another shape.
inline void require_shape(const char* name, const std::vector<std::int64_t>& shape,
                          const std::vector<std::int64_t>& expected) {
  if (shape == expected) return;
  const auto text = [](const std::vector<std::int64_t>& dimensions) {
    std::string result;
    for (const std::int64_t d : dimensions) {
      result += (result.empty() ? "" : ", ") + std::to_string(d);
    }
    return "[" + result + "]";
  };
  throw Ort::Exception("the input '" + std::string(name) + "' is " + text(shape) +
                           "; it has to be " + text(expected),
                       ORT_INVALID_ARGUMENT);
}

// A node of a model, as ONNX Runtime calls it.
template <typename Kernel>
struct KernelInstance {
  Kernel kernel;

  OrtStatus* ComputeV2(OrtKernelContext* context) {
    return guarded(Kernel::kName, [&] { kernel.compute(Ort::KernelContext(context)); });
  }
};

// One operator for one element type on one execution provider. Kernel defines it by
//   kName, kInputs, input_type(index, type), infer_shape (an InferShape), the constructor
//   Kernel(info, type) and compute(context).
template <typename Kernel>
class CustomOp : public Ort::CustomOpBase<CustomOp<Kernel>, KernelInstance<Kernel>, true> {
 public:
  CustomOp(ONNXTensorElementDataType type, const char* provider)
      : type_(type), provider_(provider) {
    this->version = kApiVersion;
    // Set here, because the wrapper of the base class does not catch exceptions.
    this->InferOutputShapeFn = [](const OrtCustomOp* /*op*/, OrtShapeInferContext* context) {
      return guarded(Kernel::kName, [&] { infer_output(context, Kernel::infer_shape); });
    };
  }

  OrtStatus* CreateKernelV2(const OrtApi& /*api*/, const OrtKernelInfo* info,
                            void** instance) const {
    return guarded(Kernel::kName,
                   [&] { *instance = new KernelInstance<Kernel>{Kernel(info, type_)}; });
  }

  const char* GetName() const { return Kernel::kName; }
  const char* GetExecutionProviderType() const { return provider_; }
  std::size_t GetInputTypeCount() const { return Kernel::kInputs; }
  ONNXTensorElementDataType GetInputType(std::size_t index) const {
    return Kernel::input_type(index, type_);
  }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t /*index*/) const { return type_; }

 private:
  ONNXTensorElementDataType type_;
  const char* provider_;
};

// Returns the operator for each element type, in the order of kFloatTypes.
template <typename Kernel>
OperatorList operators_of(const char* provider) {
  static const CustomOp<Kernel> ops[] = {
      {kFloatTypes[0], provider}, {kFloatTypes[1], provider}, {kFloatTypes[2], provider}};
  return {&ops[0], &ops[1], &ops[2]};
}

}  // namespace mbert::ort

#endif  // MBERT_PLUGINS_ONNXRUNTIME_CUSTOM_OP_H_
