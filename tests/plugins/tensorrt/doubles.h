// Test doubles of the objects that TensorRT passes to a plugin.
#ifndef MBERT_TESTS_PLUGINS_TENSORRT_DOUBLES_H_
#define MBERT_TESTS_PLUGINS_TENSORRT_DOUBLES_H_

#include <NvInferRuntime.h>

#include <cstdint>
#include <deque>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace doubles {

// A constant, or a symbol: "tokens", "offsets - 1".
class Dimension final : public nvinfer1::IDimensionExpr, private nvinfer1::apiv::VDimensionExpr {
 public:
  explicit Dimension(std::int64_t value) : text_(std::to_string(value)), value_(value) {
    mImpl = this;
  }
  explicit Dimension(std::string symbol) : text_(std::move(symbol)) { mImpl = this; }
  const std::string& text() const { return text_; }

 private:
  bool isConstant() const override { return value_.has_value(); }
  std::int64_t getConstantValue() const override { return value_.value_or(INT64_MIN); }
  bool isSizeTensor() const override { return false; }

  std::string text_;
  std::optional<std::int64_t> value_;
};

// Folds constants and records other expressions. It supports the operations that the plugins need.
class ExprBuilder final : public nvinfer1::IExprBuilder, private nvinfer1::apiv::VExprBuilder {
 public:
  ExprBuilder() { mImpl = this; }

  const Dimension* symbol(const std::string& name) { return &made_.emplace_back(name); }
  const Dimension* number(std::int64_t value) { return &made_.emplace_back(value); }

 private:
  const nvinfer1::IDimensionExpr* constant(std::int64_t value) override { return number(value); }

  const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation op,
                                            const nvinfer1::IDimensionExpr& first,
                                            const nvinfer1::IDimensionExpr& second) override {
    const bool product = op == nvinfer1::DimensionOperation::kPROD;
    if (!product && op != nvinfer1::DimensionOperation::kSUB) return nullptr;
    if (first.isConstant() && second.isConstant()) {
      const std::int64_t a = first.getConstantValue();
      const std::int64_t b = second.getConstantValue();
      return number(product ? a * b : a - b);
    }
    return symbol(static_cast<const Dimension&>(first).text() + (product ? " * " : " - ") +
                  static_cast<const Dimension&>(second).text());
  }

  const nvinfer1::IDimensionExpr* declareSizeTensor(std::int32_t, const nvinfer1::IDimensionExpr&,
                                                    const nvinfer1::IDimensionExpr&) override {
    return nullptr;
  }

  std::deque<Dimension> made_;
};

inline std::string text_of(const nvinfer1::DimsExprs& shape) {
  std::string text;
  for (std::int32_t i = 0; i < shape.nbDims; ++i) {
    text += (i > 0 ? ", " : "") + static_cast<const Dimension*>(shape.d[i])->text();
  }
  return "[" + text + "]";
}

class Logger final : public nvinfer1::ILogger, public nvinfer1::ILoggerFinder {
 public:
  // The behaviour of findLogger().
  enum class Finds { kThis, kNothing, kThrows } finds = Finds::kThis;

  std::vector<std::string> errors;

  nvinfer1::ILogger* findLogger() override {
    if (finds == Finds::kThrows) throw std::runtime_error("no logger today");
    return finds == Finds::kThis ? this : nullptr;
  }

  void log(Severity severity, const char* text) noexcept override {
    if (severity == Severity::kERROR) errors.emplace_back(text);
  }
};

inline nvinfer1::Dims dims(std::initializer_list<std::int64_t> values) {
  nvinfer1::Dims result{};
  for (const std::int64_t value : values) result.d[result.nbDims++] = value;
  return result;
}

inline nvinfer1::PluginTensorDesc tensor(
    nvinfer1::DataType type, const nvinfer1::Dims& sizes,
    nvinfer1::TensorFormat format = nvinfer1::TensorFormat::kLINEAR) {
  return {sizes, type, format, 1.0f};
}

// The description of an input whose sizes may be up to these.
inline nvinfer1::DynamicPluginTensorDesc up_to(const nvinfer1::PluginTensorDesc& largest) {
  nvinfer1::DynamicPluginTensorDesc result{largest, largest.dims, largest.dims, largest.dims};
  result.desc.dims.d[0] = -1;
  result.min.d[0] = 1;
  return result;
}

}  // namespace doubles

#endif  // MBERT_TESTS_PLUGINS_TENSORRT_DOUBLES_H_
