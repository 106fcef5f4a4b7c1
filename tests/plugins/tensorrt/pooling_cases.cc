// Cases of VarlenPooling.
#include "harness.h"

namespace harness {
namespace {

constexpr std::int32_t kMean = 1;

const Fields kFields = {field("mode", kMean)};

std::vector<nvinfer1::PluginTensorDesc> inputs() {
  return {doubles::tensor(DataType::kHALF, doubles::dims({100, 768})),
          doubles::tensor(DataType::kINT32, doubles::dims({5}))};
}

void bad_modes_are_refused() {
  for (const std::int32_t mode : {-1, 6}) {
    expect_error("mode is " + std::to_string(mode), [mode] {
      expect(create("VarlenPooling", {field("mode", mode)}) == nullptr, "no plugin");
    });
  }
  const std::int32_t cls = 0;
  const Plugin plugin(create("VarlenPooling", {field("mode", cls)}));
  expect_equal(std::string(plugin.build().getMetadataString()), "mode=0", "the metadata");
}

void output_shape() {
  const Plugin plugin(create("VarlenPooling", kFields));
  doubles::ExprBuilder builder;
  const auto ask = [&](const doubles::Dimension* offsets) {
    const nvinfer1::DimsExprs inputs[] = {{2, {builder.symbol("tokens"), builder.number(768)}},
                                          {1, {offsets}}};
    nvinfer1::DimsExprs output{};
    expect_equal(plugin.build().getOutputShapes(inputs, 2, nullptr, 0, &output, 1, builder), 0,
                 "getOutputShapes()");
    return doubles::text_of(output);
  };
  expect_equal(ask(builder.symbol("offsets")), "[offsets - 1, 768]", "the shape");
  expect_equal(ask(builder.number(9)), "[8, 768]", "the shape");
}

void pointers_reach_the_kernel() {
  alignas(16) static float memory[64];
  const Plugin plugin(create("VarlenPooling", kFields));
  const std::vector<nvinfer1::PluginTensorDesc> descs = inputs();
  for (const std::string null : {"hidden", "cu_seqlens", "pooled"}) {
    const void* const from[] = {null == "hidden" ? nullptr : memory,
                                null == "cu_seqlens" ? nullptr : memory};
    void* const to[] = {null == "pooled" ? nullptr : memory};
    expect_error(null + " is a null pointer", [&] {
      expect(plugin.runtime().enqueue(descs.data(), nullptr, from, to, nullptr, nullptr) != 0,
             "a failure");
    });
  }
}

}  // namespace

std::vector<Case> pooling_cases() {
  std::vector<Case> cases =
      shared_cases({"VarlenPooling", {"mode"}, kFields, "mode=1", inputs(), 0});
  cases.push_back({"VarlenPooling: bad modes are refused", bad_modes_are_refused});
  cases.push_back({"VarlenPooling: output shape", output_shape});
  cases.push_back({"VarlenPooling: pointers reach the kernel", pointers_reach_the_kernel});
  return cases;
}

}  // namespace harness
