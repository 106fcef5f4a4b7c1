// Cases of VarlenAttention.
#include <limits>

#include "harness.h"

namespace harness {
namespace {

constexpr std::int32_t kHeads = 3;
constexpr std::int32_t kWindow = 64;
// A float that needs all its decimal digits.
constexpr float kScale = 0.1767766952966369f;

const Fields kFields = {field("num_heads", kHeads), field("scale", kScale),
                        field("window", kWindow)};

std::vector<nvinfer1::PluginTensorDesc> inputs(std::int64_t columns = 3 * kHeads * 64,
                                               std::int64_t head_dim = 64) {
  return {doubles::tensor(DataType::kHALF, doubles::dims({100, columns})),
          doubles::tensor(DataType::kINT32, doubles::dims({5})),
          doubles::tensor(DataType::kFLOAT, doubles::dims({512, head_dim}))};
}

void bad_attributes_are_refused() {
  const auto refused = [](std::size_t position, const nvinfer1::PluginField& bad,
                          const std::string& text) {
    Fields fields = kFields;
    fields[position] = bad;
    expect_error(text, [&] { expect(create("VarlenAttention", fields) == nullptr, "no plugin"); });
  };
  for (const std::int32_t heads : {0, -1}) {
    refused(0, field("num_heads", heads), "num_heads is " + std::to_string(heads));
  }
  const std::int32_t window = -2;
  refused(2, field("window", window), "window is -2");
  for (const float scale :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        // Times log2(e) it overflows.
        -3e38f}) {
    refused(1, field("scale", scale), "scale is");
  }
  const std::int32_t whole = 1;
  refused(1, field("scale", whole), "'scale' is a field of type 5; it has to be a float32");
  const std::int64_t huge = std::int64_t{1} << 32;
  refused(2, field("window", huge), "'window' is 4294967296, which is more than an int32 holds");
}

void integers_may_have_64_bits() {
  const std::int64_t heads = 5;
  const std::int64_t window = -1;
  const Plugin plugin(create("VarlenAttention", {field("window", window), field("scale", kScale),
                                                 field("num_heads", heads)}));
  expect_equal(std::string(plugin.build().getMetadataString()),
               "num_heads=5 scale=0.176776692 window=-1", "the metadata");
}

void other_fields_are_ignored() {
  const std::int32_t other = 7;
  Fields fields = kFields;
  fields.push_back(field("plugin_version", other));
  fields.push_back({nullptr, nullptr, nvinfer1::PluginFieldType::kUNKNOWN, 0});
  const Plugin plugin(create("VarlenAttention", fields));
  expect_equal(plugin.runtime().getFieldsToSerialize()->nbFields, 3, "the number of fields");
}

std::string shape(const std::vector<std::vector<const doubles::Dimension*>>& inputs,
                  doubles::ExprBuilder& builder) {
  std::vector<nvinfer1::DimsExprs> shapes;
  for (const auto& input : inputs) {
    nvinfer1::DimsExprs& each = shapes.emplace_back();
    for (const doubles::Dimension* dimension : input) each.d[each.nbDims++] = dimension;
  }
  nvinfer1::DimsExprs output{};
  const Plugin plugin(create("VarlenAttention", kFields));
  if (plugin.build().getOutputShapes(shapes.data(), static_cast<std::int32_t>(shapes.size()),
                                     nullptr, 0, &output, 1, builder) != 0) {
    return "refused";
  }
  return doubles::text_of(output);
}

void output_shape() {
  doubles::ExprBuilder b;
  const auto* tokens = b.symbol("tokens");
  const auto* offsets = b.symbol("offsets");
  const auto* positions = b.number(512);
  expect_equal(shape({{tokens, b.number(576)}, {offsets}, {positions, b.number(64)}}, b),
               "[tokens, 192]", "the shape");
  expect_equal(shape({{tokens, b.symbol("columns")}, {offsets}, {positions, b.symbol("d")}}, b),
               "[tokens, 3 * d]", "the shape");
  expect_equal(shape({{b.number(10), b.number(288)}, {b.number(3)}, {positions, b.number(32)}}, b),
               "[10, 96]", "the shape");
  expect_error(
      "mbert: VarlenAttention 'layer': qkv has 577 columns; 3 heads (num_heads) of 64", [&] {
        expect_equal(shape({{tokens, b.number(577)}, {offsets}, {positions, b.number(64)}}, b),
                     "refused", "the shape");
      });
}

void sizes_that_do_not_fit_are_refused() {
  const Plugin plugin(create("VarlenAttention", kFields));
  const auto refused = [&plugin](const std::vector<nvinfer1::PluginTensorDesc>& bad,
                                 const std::string& text) {
    expect_error(text, [&] {
      expect(plugin.runtime().onShapeChange(bad.data(), 3, nullptr, 1) != 0, "a failure");
    });
    std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic;
    for (const auto& each : bad) dynamic.push_back(doubles::up_to(each));
    expect_error(text, [&] {
      expect(plugin.build().configurePlugin(dynamic.data(), 3, nullptr, 1) != 0, "a failure");
    });
  };
  refused(inputs(575), "qkv has 575 columns; 3 heads (num_heads) of 64");
  refused(inputs(3 * kHeads * 72, 72), "head_dim");
  refused(inputs(0, 0), "head_dim");
}

Plugin global_plugin() {
  const std::int32_t whole = -1;
  return Plugin(create("VarlenAttention", {kFields[0], kFields[1], field("window", whole)}));
}

// The kernel's own checks report which addresses it received.
void pointers_reach_the_kernel() {
  alignas(16) static float memory[64];
  const auto enqueue = [](const Plugin& plugin, const char* name, float* address) {
    const auto unless = [name, address](const char* other) {
      return std::string_view(name) == other ? address : memory;
    };
    const void* const from[] = {unless("qkv"), unless("cu_seqlens"), unless("rope")};
    void* const to[] = {unless("context")};
    const auto descs = inputs();
    expect(plugin.runtime().enqueue(descs.data(), nullptr, from, to, unless("workspace"),
                                    nullptr) != 0,
           "a failure");
  };
  const Plugin windowed(create("VarlenAttention", kFields));
  for (const char* name : {"qkv", "cu_seqlens", "rope", "context"}) {
    expect_error(name + std::string(" is a null pointer"),
                 [&] { enqueue(windowed, name, nullptr); });
  }
  // With a window, keys are rotated when they are loaded, and the workspace is not used.
  float* const misaligned = memory + 1;
  for (float* const workspace : {static_cast<float*>(nullptr), misaligned}) {
    expect_error("the CUDA kernel could not be launched",
                 [&] { enqueue(windowed, "workspace", workspace); });
  }
  expect_error("qkv is at an address that is not a multiple of 16",
               [&] { enqueue(windowed, "qkv", misaligned); });
  for (const Plugin& global : {global_plugin(), Plugin(global_plugin().whole->clone())}) {
    expect_error("workspace is a null pointer", [&] { enqueue(global, "workspace", nullptr); });
    expect_error("workspace is at an address that is not a multiple of 16",
                 [&] { enqueue(global, "workspace", misaligned); });
  }
}

// With a workspace; the shared cases test the attention without one.
void global_attention_reserves_the_rotated_keys() {
  std::vector<nvinfer1::DynamicPluginTensorDesc> dynamic;
  for (const auto& each : inputs()) dynamic.push_back(doubles::up_to(each));
  expect_equal(global_plugin().build().getWorkspaceSize(dynamic.data(), 3, nullptr, 1),
               std::size_t{100 * kHeads * 64 * 2}, "the workspace");
}

}  // namespace

std::vector<Case> attention_cases() {
  std::vector<Case> cases = shared_cases({"VarlenAttention",
                                          {"num_heads", "scale", "window"},
                                          kFields,
                                          "num_heads=3 scale=0.176776692 window=64",
                                          inputs(),
                                          0});
  const Case own[] = {
      {"VarlenAttention: bad attributes are refused", bad_attributes_are_refused},
      {"VarlenAttention: integers may have 64 bits", integers_may_have_64_bits},
      {"VarlenAttention: other fields are ignored", other_fields_are_ignored},
      {"VarlenAttention: output shape", output_shape},
      {"VarlenAttention: sizes that do not fit are refused", sizes_that_do_not_fit_are_refused},
      {"VarlenAttention: pointers reach the kernel", pointers_reach_the_kernel},
      {"VarlenAttention: global attention reserves the rotated keys",
       global_attention_reserves_the_rotated_keys},
  };
  cases.insert(cases.end(), std::begin(own), std::end(own));
  return cases;
}

}  // namespace harness
