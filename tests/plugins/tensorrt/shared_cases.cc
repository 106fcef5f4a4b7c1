// The cases of every plugin.
#include <algorithm>
#include <cstring>

#include "harness.h"

namespace harness {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

std::vector<DynamicPluginTensorDesc> dynamic(const std::vector<PluginTensorDesc>& tensors) {
  std::vector<DynamicPluginTensorDesc> result;
  std::transform(tensors.begin(), tensors.end(), std::back_inserter(result), doubles::up_to);
  return result;
}

std::int32_t count_of(const std::vector<PluginTensorDesc>& tensors) {
  return static_cast<std::int32_t>(tensors.size());
}

void creator_describes_itself(const Subject& subject) {
  expect_equal(creator_count(), 2, "the number of creators");
  nvinfer1::IPluginCreatorV3One& found = creator(subject.name);
  expect_equal(std::string(found.getPluginVersion()), "1", "the version");
  expect_equal(std::string(found.getPluginNamespace()), "mbert", "the namespace");
  expect_equal(std::string(found.getInterfaceInfo().kind), "PLUGIN CREATOR_V3ONE", "the kind");
  const nvinfer1::PluginFieldCollection& fields = *found.getFieldNames();
  expect_equal(static_cast<std::size_t>(fields.nbFields), subject.attributes.size(),
               "the number of fields");
  for (std::int32_t i = 0; i < fields.nbFields; ++i) {
    const auto at = static_cast<std::size_t>(i);
    expect_equal(std::string(fields.fields[i].name), subject.attributes[at], "the field's name");
    expect_equal(fields.fields[i].type, subject.fields[at].type, "the field's type");
    expect(fields.fields[i].data == nullptr, "a field without a value");
    expect_equal(fields.fields[i].length, 1, "the field's length");
  }
}

void plugin_describes_itself(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  expect_equal(std::string(plugin.whole->getInterfaceInfo().kind), "PLUGIN", "the kind");
  expect_equal(std::string(plugin.core().getInterfaceInfo().kind), "PLUGIN_V3ONE_CORE",
               "core's kind");
  expect_equal(std::string(plugin.build().getInterfaceInfo().kind), "PLUGIN_V3ONE_BUILD",
               "build's kind");
  expect_equal(std::string(plugin.runtime().getInterfaceInfo().kind), "PLUGIN_V3ONE_RUNTIME",
               "runtime's kind");
  expect(plugin.whole->getCapabilityInterface(static_cast<nvinfer1::PluginCapabilityType>(7)) ==
             nullptr,
         "no capability of an unknown type");
  expect_equal(std::string(plugin.core().getPluginName()), subject.name, "the name");
  expect_equal(std::string(plugin.core().getPluginVersion()), "1", "the version");
  expect_equal(std::string(plugin.core().getPluginNamespace()), "mbert", "the namespace");
  expect_equal(plugin.build().getNbOutputs(), 1, "the number of outputs");
  expect_equal(std::string(plugin.build().getMetadataString()), subject.metadata, "the metadata");
  const std::string timing = plugin.build().getTimingCacheID();
  expect_equal(timing.rfind(subject.metadata + " mbert=", 0), std::size_t{0},
               "where the timing cache's id " + timing + " begins with the metadata");
}

void expect_same_fields(const nvinfer1::PluginFieldCollection& found, const Fields& expected) {
  expect_equal(static_cast<std::size_t>(found.nbFields), expected.size(), "the number of fields");
  for (std::int32_t i = 0; i < found.nbFields; ++i) {
    const nvinfer1::PluginField& a = found.fields[i];
    const nvinfer1::PluginField& b = expected[static_cast<std::size_t>(i)];
    expect_equal(std::string(a.name), std::string(b.name), "the field's name");
    expect_equal(a.type, b.type, "the field's type");
    expect_equal(a.length, 1, "the field's length");
    expect(std::memcmp(a.data, b.data, 4) == 0, std::string(a.name) + " to have the same bits");
  }
}

void attributes_survive_serialization(const Subject& subject) {
  const Plugin built(create(subject.name, subject.fields));
  const nvinfer1::PluginFieldCollection& fields = *built.runtime().getFieldsToSerialize();
  expect_same_fields(fields, subject.fields);
  const Fields serialized(fields.fields, fields.fields + fields.nbFields);
  const Plugin loaded(create(subject.name, serialized, nvinfer1::TensorRTPhase::kRUNTIME));
  expect_equal(std::string(loaded.build().getMetadataString()), subject.metadata, "the metadata");
  expect_same_fields(*loaded.runtime().getFieldsToSerialize(), subject.fields);
}

void clones_stand_alone(const Subject& subject) {
  auto original = std::make_unique<Plugin>(create(subject.name, subject.fields));
  const Plugin clone(original->whole->clone());
  const Plugin attached(original->runtime().attachToContext(nullptr));
  original.reset();
  for (const Plugin* each : {&clone, &attached}) {
    expect_equal(std::string(each->build().getMetadataString()), subject.metadata, "the metadata");
    expect_same_fields(*each->runtime().getFieldsToSerialize(), subject.fields);
    expect_equal(
        each->runtime().onShapeChange(subject.inputs.data(), count_of(subject.inputs), nullptr, 1),
        0, "onShapeChange()");
  }
}

void missing_attributes_are_refused(const Subject& subject) {
  for (std::size_t i = 0; i < subject.fields.size(); ++i) {
    const std::string name = subject.attributes[i];
    Fields fields = subject.fields;
    fields.erase(fields.begin() + static_cast<std::ptrdiff_t>(i));
    expect_error(
        "mbert: " + subject.name + ": layer 'layer': the attribute '" + name + "' is missing",
        [&] { expect(create(subject.name, fields) == nullptr, "no plugin"); });

    fields = subject.fields;
    fields[i].length = 2;
    expect_error("'" + name + "' has 2 values; it needs one",
                 [&] { expect(create(subject.name, fields) == nullptr, "no plugin"); });
    fields[i].length = 1;
    fields[i].data = nullptr;
    expect_error("'" + name + "' has 0 values; it needs one",
                 [&] { expect(create(subject.name, fields) == nullptr, "no plugin"); });

    fields = subject.fields;
    fields[i].type = nvinfer1::PluginFieldType::kINT8;
    expect_error("'" + name + "' is a field of type 3; it has to be",
                 [&] { expect(create(subject.name, fields) == nullptr, "no plugin"); });
  }
  expect_error("is missing", [&] {
    expect(creator(subject.name).createPlugin(nullptr, nullptr, nvinfer1::TensorRTPhase::kBUILD) ==
               nullptr,
           "no plugin");
  });
}

void output_has_the_type_of_the_first_input(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  std::vector<DataType> types;
  for (const PluginTensorDesc& input : subject.inputs) types.push_back(input.type);
  const std::int32_t count = count_of(subject.inputs);
  DataType output{};
  const auto ask = [&](std::int32_t inputs, std::int32_t outputs) {
    return plugin.build().getOutputDataTypes(&output, outputs, types.data(), inputs);
  };
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    types[0] = type;
    expect_equal(ask(count, 1), 0, "getOutputDataTypes()");
    expect_equal(output, type, "the output's type");
  }
  types[0] = DataType::kINT8;
  expect_error("is of type int8; it has to be float32, float16 or bfloat16",
               [&] { expect(ask(count, 1) != 0, "a failure"); });
  types[0] = DataType::kHALF;
  types[1] = DataType::kINT64;
  expect_error("cu_seqlens is of type int64; it has to be int32",
               [&] { expect(ask(count, 1) != 0, "a failure"); });
  types[1] = DataType::kINT32;
  expect_error("it has 1 inputs and 1 outputs; it needs " + std::to_string(count) + " and 1",
               [&] { expect(ask(1, 1) != 0, "a failure"); });
  expect_error("outputs; it needs", [&] { expect(ask(count, 2) != 0, "a failure"); });
}

// Tries every type and format at every position: only those of the table are accepted.
void formats_are_those_of_the_table(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  const std::int32_t inputs = count_of(subject.inputs);
  for (const DataType element : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
    std::vector<DynamicPluginTensorDesc> tensors = dynamic(subject.inputs);
    tensors[0].desc.type = element;
    tensors.push_back(tensors[0]);
    for (std::int32_t position = 0; position <= inputs; ++position) {
      PluginTensorDesc& asked = tensors[static_cast<std::size_t>(position)].desc;
      const PluginTensorDesc good = asked;
      for (std::int32_t type = 0; type <= 11; ++type) {
        for (std::int32_t format = 0; format <= 12; ++format) {
          asked.type = static_cast<DataType>(type);
          asked.format = static_cast<TensorFormat>(format);
          const bool floating = asked.type == DataType::kFLOAT || asked.type == DataType::kHALF ||
                                asked.type == DataType::kBF16;
          const bool fits = position == 0 ? floating : asked.type == good.type;
          const bool accepted =
              plugin.build().supportsFormatCombination(position, tensors.data(), inputs, 1);
          if (accepted != (fits && asked.format == TensorFormat::kLINEAR)) {
            fail("position " + std::to_string(position) + ", type " + std::to_string(type) +
                 ", format " + std::to_string(format) + " is " +
                 (accepted ? "accepted" : "refused"));
          }
        }
      }
      asked = good;
    }
    const auto ask = [&](std::int32_t position, std::int32_t in, std::int32_t out) {
      return plugin.build().supportsFormatCombination(position, tensors.data(), in, out);
    };
    expect(ask(0, inputs, 1), "the good inputs accepted");
    expect(!ask(-1, inputs, 1) && !ask(inputs + 1, inputs, 1), "other positions refused");
    expect(!ask(0, inputs - 1, 1) && !ask(0, inputs, 2), "other counts refused");
  }
}

void configuration_and_workspace(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  const std::vector<DynamicPluginTensorDesc> inputs = dynamic(subject.inputs);
  const std::int32_t count = count_of(subject.inputs);
  nvinfer1::IPluginV3OneBuild& build = plugin.build();
  expect_equal(build.configurePlugin(inputs.data(), count, nullptr, 1), 0, "configurePlugin()");
  expect_equal(build.getWorkspaceSize(inputs.data(), count, nullptr, 1), subject.workspace,
               "the workspace");
  expect_error("outputs; it needs", [&] {
    expect(build.configurePlugin(inputs.data(), count - 1, nullptr, 1) != 0, "a failure");
  });
  expect_error("outputs; it needs", [&] {
    expect_equal(build.getWorkspaceSize(inputs.data(), count, nullptr, 0), std::size_t{0},
                 "the workspace");
  });
}

// TensorRT would time tactics on invented offsets, that is, on no work: see plugin.h.
void there_are_no_tactics(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  expect_equal(plugin.build().getNbTactics(), 0, "the number of tactics");
  // Without tactics, TensorRT sets the default one.
  expect_equal(plugin.runtime().setTactic(0), 0, "setTactic()");
}

void inputs_of_other_ranks_are_refused(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  const std::int32_t count = count_of(subject.inputs);
  for (std::size_t i = 0; i < subject.inputs.size(); ++i) {
    std::vector<PluginTensorDesc> inputs = subject.inputs;
    const std::int32_t rank = inputs[i].dims.nbDims;
    inputs[i].dims = doubles::dims({2, 3, 4});
    const std::string text = "is [2, 3, 4], of 3 dimensions; it needs " + std::to_string(rank);
    expect_error(text, [&] {
      expect(plugin.runtime().onShapeChange(inputs.data(), count, nullptr, 1) != 0, "a failure");
    });
    const std::vector<DynamicPluginTensorDesc> dynamic_inputs = dynamic(inputs);
    expect_error("of 3 dimensions", [&] {
      expect(plugin.build().configurePlugin(dynamic_inputs.data(), count, nullptr, 1) != 0,
             "a failure");
    });
    doubles::ExprBuilder builder;
    std::vector<nvinfer1::DimsExprs> shapes;
    for (const PluginTensorDesc& input : inputs) {
      nvinfer1::DimsExprs& shape = shapes.emplace_back();
      shape.nbDims = input.dims.nbDims;
      for (std::int32_t d = 0; d < shape.nbDims; ++d) shape.d[d] = builder.symbol("n");
    }
    nvinfer1::DimsExprs output{};
    expect_error("of 3 dimensions", [&] {
      expect(plugin.build().getOutputShapes(shapes.data(), count, nullptr, 0, &output, 1,
                                            builder) != 0,
             "a failure");
    });
  }
  std::vector<PluginTensorDesc> inputs = subject.inputs;
  inputs[0].dims.d[0] = -1;
  expect_error("dimension 0 is not known yet", [&] {
    expect(plugin.runtime().onShapeChange(inputs.data(), count, nullptr, 1) != 0, "a failure");
  });
  inputs = subject.inputs;
  inputs[1].dims.d[0] = 0;
  expect_error("the size of cu_seqlens) is -1", [&] {
    expect(plugin.runtime().onShapeChange(inputs.data(), count, nullptr, 1) != 0, "a failure");
  });
  inputs = subject.inputs;
  inputs[0].type = DataType::kINT32;
  expect_error("is of type int32", [&] {
    expect(plugin.runtime().onShapeChange(inputs.data(), count, nullptr, 1) != 0, "a failure");
  });
}

// The harness runs without a visible GPU (CUDA_VISIBLE_DEVICES): a launch fails.
void enqueue_reports_a_failed_launch(const Subject& subject) {
  const Plugin plugin(create(subject.name, subject.fields));
  alignas(256) static float memory[64];
  const std::vector<const void*> inputs(subject.inputs.size(), memory);
  void* const outputs[] = {memory};
  expect_error("the CUDA kernel could not be launched: cudaError", [&] {
    expect(plugin.runtime().enqueue(subject.inputs.data(), nullptr, inputs.data(), outputs, memory,
                                    nullptr) != 0,
           "a failure");
  });
  std::vector<PluginTensorDesc> bad = subject.inputs;
  bad[1].dims.d[0] = 0;
  expect_error("the size of cu_seqlens) is -1", [&] {
    expect(
        plugin.runtime().enqueue(bad.data(), nullptr, inputs.data(), outputs, memory, nullptr) != 0,
        "a failure");
  });
}

// The messages go to standard error; the results are the same.
void a_logger_may_be_absent(const Subject& subject) {
  using Finds = doubles::Logger::Finds;
  const Fields none;
  for (const Finds finds : {Finds::kNothing, Finds::kThrows}) {
    logger().finds = finds;
    const bool refused = create(subject.name, none) == nullptr;
    logger().finds = Finds::kThis;
    expect(refused, "no plugin");
  }
  set_logger_finder(nullptr);
  const bool refused = create(subject.name, none) == nullptr;
  set_logger_finder(&logger());
  expect(refused, "no plugin");
  expect_equal(logger().errors.size(), std::size_t{0}, "the number of logged errors");
}

}  // namespace

std::vector<Case> shared_cases(const Subject& subject) {
  const std::pair<const char*, void (*)(const Subject&)> all[] = {
      {"creator describes itself", creator_describes_itself},
      {"plugin describes itself", plugin_describes_itself},
      {"attributes survive serialization", attributes_survive_serialization},
      {"clones stand alone", clones_stand_alone},
      {"missing attributes are refused", missing_attributes_are_refused},
      {"output has the type of the first input", output_has_the_type_of_the_first_input},
      {"formats are those of the table", formats_are_those_of_the_table},
      {"configuration and workspace", configuration_and_workspace},
      {"there are no tactics", there_are_no_tactics},
      {"inputs of other ranks are refused", inputs_of_other_ranks_are_refused},
      {"enqueue reports a failed launch", enqueue_reports_a_failed_launch},
      {"a logger may be absent", a_logger_may_be_absent},
  };
  std::vector<Case> cases;
  for (const auto& [name, run] : all) {
    cases.push_back({subject.name + ": " + name, [subject, run = run] { run(subject); }});
  }
  return cases;
}

}  // namespace harness
