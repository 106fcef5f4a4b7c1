// A small test harness, and the plugin library as TensorRT sees it.
#ifndef MBERT_TESTS_PLUGINS_TENSORRT_HARNESS_H_
#define MBERT_TESTS_PLUGINS_TENSORRT_HARNESS_H_

#include <NvInferRuntime.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "doubles.h"

namespace harness {

using nvinfer1::DataType;

// Fails the case with that explanation.
[[noreturn]] void fail(const std::string& why);

inline void expect(bool holds, const std::string& what) {
  if (!holds) fail("expected " + what);
}

template <typename Value>
std::string show(const Value& value) {
  if constexpr (std::is_convertible_v<Value, std::string_view>) {
    return "'" + std::string(std::string_view(value)) + "'";
  } else if constexpr (std::is_enum_v<Value>) {
    return std::to_string(static_cast<std::int64_t>(value));
  } else {
    return std::to_string(value);
  }
}

template <typename Found, typename Expected>
void expect_equal(const Found& found, const Expected& expected, const std::string& of) {
  if (!(found == expected)) fail(of + " is " + show(found) + "; expected " + show(expected));
}

// The library under test, and the logger that it got.
nvinfer1::IPluginCreatorV3One& creator(const std::string& name);
std::int32_t creator_count();
doubles::Logger& logger();
void set_logger_finder(nvinfer1::ILoggerFinder* finder);

// Runs fn, which must log one error that contains `text`.
void expect_error(const std::string& text, const std::function<void()>& fn);

// A plugin with its capabilities.
struct Plugin {
  std::unique_ptr<nvinfer1::IPluginV3> whole;

  explicit Plugin(nvinfer1::IPluginV3* plugin) : whole(plugin) {
    expect(plugin != nullptr, "a plugin, not nullptr");
  }
  template <typename Capability>
  Capability& as(nvinfer1::PluginCapabilityType type) const {
    nvinfer1::IPluginCapability* const capability = whole->getCapabilityInterface(type);
    expect(capability != nullptr, "a capability, not nullptr");
    return static_cast<Capability&>(*capability);
  }
  nvinfer1::IPluginV3OneCore& core() const {
    return as<nvinfer1::IPluginV3OneCore>(nvinfer1::PluginCapabilityType::kCORE);
  }
  nvinfer1::IPluginV3OneBuild& build() const {
    return as<nvinfer1::IPluginV3OneBuild>(nvinfer1::PluginCapabilityType::kBUILD);
  }
  nvinfer1::IPluginV3OneRuntime& runtime() const {
    return as<nvinfer1::IPluginV3OneRuntime>(nvinfer1::PluginCapabilityType::kRUNTIME);
  }
};

using Fields = std::vector<nvinfer1::PluginField>;

// Returns nullptr if the library refuses.
nvinfer1::IPluginV3* create(const std::string& name, const Fields& fields,
                            nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD);

template <typename Value>
nvinfer1::PluginField field(const char* name, const Value& value) {
  using Type = nvinfer1::PluginFieldType;
  constexpr Type kType = std::is_same_v<Value, float>          ? Type::kFLOAT32
                         : std::is_same_v<Value, std::int64_t> ? Type::kINT64
                                                               : Type::kINT32;
  return {name, &value, kType, 1};
}

// The description of an operator for the shared cases.
struct Subject {
  std::string name;
  std::vector<std::string> attributes;
  Fields fields;                                   // of a valid plugin
  std::string metadata;                            // of these fields
  std::vector<nvinfer1::PluginTensorDesc> inputs;  // valid ones, in float16
  std::size_t workspace;                           // bytes for these inputs
};

struct Case {
  std::string name;
  std::function<void()> run;
};

std::vector<Case> shared_cases(const Subject& subject);
std::vector<Case> attention_cases();
std::vector<Case> pooling_cases();

}  // namespace harness

#endif  // MBERT_TESTS_PLUGINS_TENSORRT_HARNESS_H_
