// Conversion of an operator's attributes from and to TensorRT's named fields. Attributes are a
// struct of int32 and float members with a static visit(attributes, fn), which calls fn(name,
// member) for each.
#ifndef MBERT_PLUGINS_TENSORRT_ATTRIBUTES_H_
#define MBERT_PLUGINS_TENSORRT_ATTRIBUTES_H_

#include <NvInferRuntime.h>

#include <cstdint>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "logging.h"

namespace mbert::trt {

inline nvinfer1::PluginField field(const char* name, const std::int32_t* value) {
  return {name, value, nvinfer1::PluginFieldType::kINT32, 1};
}
inline nvinfer1::PluginField field(const char* name, const float* value) {
  return {name, value, nvinfer1::PluginFieldType::kFLOAT32, 1};
}

// Returns the fields that createPlugin() takes, without values.
template <typename Attributes>
std::vector<nvinfer1::PluginField> declared_fields() {
  std::vector<nvinfer1::PluginField> fields;
  Attributes attributes;
  Attributes::visit(attributes, [&fields](const char* name, auto& member) {
    fields.push_back(field(name, &member));
    fields.back().data = nullptr;
  });
  return fields;
}

// Returns fields from which createPlugin() makes the same attributes. They point into `attributes`.
template <typename Attributes>
std::vector<nvinfer1::PluginField> serialized_fields(const Attributes& attributes) {
  std::vector<nvinfer1::PluginField> fields;
  Attributes::visit(attributes, [&fields](const char* name, const auto& member) {
    fields.push_back(field(name, &member));
  });
  return fields;
}

// Returns "num_heads=12 scale=0.125 window=64": equal texts mean equal attributes.
template <typename Attributes>
std::string text_of(const Attributes& attributes) {
  std::ostringstream text;
  text.precision(std::numeric_limits<float>::max_digits10);
  Attributes::visit(attributes, [&text](const char* name, const auto& member) {
    text << (text.tellp() > 0 ? " " : "") << name << '=' << member;
  });
  return text.str();
}

// Converts a field's value to the attribute's type. Integers of ONNX arrive with 32 or 64 bits.
inline void convert(const nvinfer1::PluginField& from, std::int32_t* to) {
  using nvinfer1::PluginFieldType;
  std::int64_t value = 0;
  if (from.type == PluginFieldType::kINT32) {
    value = *static_cast<const std::int32_t*>(from.data);
  } else if (from.type == PluginFieldType::kINT64) {
    value = *static_cast<const std::int64_t*>(from.data);
  } else {
    throw Problem("the attribute '" + std::string(from.name) + "' is a field of type " +
                  std::to_string(static_cast<int>(from.type)) + "; it has to be an int32 or int64");
  }
  *to = static_cast<std::int32_t>(value);
  if (*to != value) {
    throw Problem("the attribute '" + std::string(from.name) + "' is " + std::to_string(value) +
                  ", which is more than an int32 holds");
  }
}
inline void convert(const nvinfer1::PluginField& from, float* to) {
  if (from.type != nvinfer1::PluginFieldType::kFLOAT32) {
    throw Problem("the attribute '" + std::string(from.name) + "' is a field of type " +
                  std::to_string(static_cast<int>(from.type)) + "; it has to be a float32");
  }
  *to = *static_cast<const float*>(from.data);
}

// Reads the attributes. Throws Problem if one is missing or has a wrong type or value. Other fields
// are ignored, like other attributes in ONNX.
template <typename Attributes>
Attributes read_attributes(const nvinfer1::PluginFieldCollection* fields) {
  Attributes attributes;
  Attributes::visit(attributes, [fields](const char* name, auto& member) {
    const nvinfer1::PluginField* found = nullptr;
    for (std::int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
      const nvinfer1::PluginField& each = fields->fields[i];
      if (each.name != nullptr && std::string_view(each.name) == name) found = &each;
    }
    if (found == nullptr) {
      throw Problem("the attribute '" + std::string(name) + "' is missing");
    }
    if (found->data == nullptr || found->length != 1) {
      throw Problem("the attribute '" + std::string(name) + "' has " +
                    std::to_string(found->data == nullptr ? 0 : found->length) +
                    " values; it needs one");
    }
    convert(*found, &member);
  });
  return attributes;
}

}  // namespace mbert::trt

#endif  // MBERT_PLUGINS_TENSORRT_ATTRIBUTES_H_
