// VarlenAttention.
#include <limits>

#include "harness.h"

namespace harness {
namespace {

constexpr std::int32_t kHeads = 3;
constexpr std::int32_t kWindow = 64;
// Not a float that a decimal of few digits gives back.
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
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
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

// What the kernel's own check says of a null pointer tells what it was handed.
void pointers_and_tactics_reach_the_kernel() {
  alignas(16) static float memory[64];
  const auto enqueue = [](const Plugin& plugin, const char* null) {
    const auto unless = [null](const char* name) {
      return std::string_view(name) == null ? nullptr : memory;
    };
    const void* const from[] = {unless("qkv"), unless("cu_seqlens"), unless("rope")};
    void* const to[] = {unless("context")};
    const auto descs = inputs();
    expect(plugin.runtime().enqueue(descs.data(), nullptr, from, to, unless("workspace"),
                                    nullptr) != 0,
           "a failure");
  };
  const std::string launched = "the CUDA kernel could not be launched";
  const Plugin plugin(create("VarlenAttention", kFields));
  for (const char* name : {"qkv", "cu_seqlens", "rope", "context"}) {
    expect_error(name + std::string(" is a null pointer"), [&] { enqueue(plugin, name); });
  }
  const auto rotates_in_workspace = [&](const Plugin& each, bool expected) {
    expect_error(expected ? "workspace is a null pointer" : launched,
                 [&] { enqueue(each, "workspace"); });
  };
  rotates_in_workspace(plugin, false);
  expect_equal(plugin.runtime().setTactic(2), 0, "setTactic()");
  rotates_in_workspace(plugin, true);
  rotates_in_workspace(Plugin(plugin.whole->clone()), true);
  expect_equal(plugin.runtime().setTactic(1), 0, "setTactic()");
  rotates_in_workspace(plugin, false);

  const std::int32_t whole = -1;
  const Plugin global(create("VarlenAttention", {kFields[0], kFields[1], field("window", whole)}));
  rotates_in_workspace(global, true);
  expect_equal(global.runtime().setTactic(1), 0, "setTactic()");
  rotates_in_workspace(global, false);
}

}  // namespace

std::vector<Case> attention_cases() {
  std::vector<Case> cases = shared_cases({"VarlenAttention",
                                          {"num_heads", "scale", "window"},
                                          kFields,
                                          "num_heads=3 scale=0.176776692 window=64",
                                          inputs(),
                                          100 * kHeads * 64 * 2,  // the rotated keys
                                          2});
  const Case own[] = {
      {"VarlenAttention: bad attributes are refused", bad_attributes_are_refused},
      {"VarlenAttention: integers may have 64 bits", integers_may_have_64_bits},
      {"VarlenAttention: other fields are ignored", other_fields_are_ignored},
      {"VarlenAttention: output shape", output_shape},
      {"VarlenAttention: sizes that do not fit are refused", sizes_that_do_not_fit_are_refused},
      {"VarlenAttention: pointers and tactics reach the kernel",
       pointers_and_tactics_reach_the_kernel},
  };
  cases.insert(cases.end(), std::begin(own), std::end(own));
  return cases;
}

}  // namespace harness
