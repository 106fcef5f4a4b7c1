// Calls every method of the TensorRT plugins in the library on the command line, as TensorRT does.
// Prints "ok NAME" or "FAILED NAME: REASON" for each case.
#include "harness.h"

#include <dlfcn.h>

#include <cstdio>
#include <stdexcept>

namespace harness {
namespace {

using GetCreators = nvinfer1::IPluginCreatorInterface* const* (*)(std::int32_t&);
using SetLoggerFinder = void (*)(nvinfer1::ILoggerFinder*);

nvinfer1::IPluginCreatorInterface* const* creators = nullptr;
std::int32_t count = 0;
SetLoggerFinder set_finder = nullptr;

void* symbol(void* library, const char* name) {
  void* const found = dlsym(library, name);
  if (found == nullptr) throw std::runtime_error(dlerror());
  return found;
}

void load(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  set_finder = reinterpret_cast<SetLoggerFinder>(symbol(library, "setLoggerFinder"));
  set_finder(&logger());
  creators = reinterpret_cast<GetCreators>(symbol(library, "getCreators"))(count);
}

int run(const std::vector<Case>& cases) {
  int failures = 0;
  for (const Case& each : cases) {
    logger().errors.clear();
    try {
      each.run();
      std::printf("ok %s\n", each.name.c_str());
    } catch (const std::exception& error) {
      std::printf("FAILED %s: %s\n", each.name.c_str(), error.what());
      ++failures;
    }
  }
  return failures;
}

}  // namespace

void fail(const std::string& why) { throw std::runtime_error(why); }

std::int32_t creator_count() { return count; }

nvinfer1::IPluginCreatorV3One& creator(const std::string& name) {
  for (std::int32_t i = 0; i < count; ++i) {
    auto& each = static_cast<nvinfer1::IPluginCreatorV3One&>(*creators[i]);
    if (name == each.getPluginName()) return each;
  }
  fail("no creator of " + name);
}

doubles::Logger& logger() {
  static doubles::Logger logger;
  return logger;
}

void set_logger_finder(nvinfer1::ILoggerFinder* finder) { set_finder(finder); }

void expect_error(const std::string& text, const std::function<void()>& fn) {
  std::vector<std::string>& errors = logger().errors;
  errors.clear();
  fn();
  expect_equal(errors.size(), std::size_t{1}, "the number of logged errors");
  if (errors[0].find(text) == std::string::npos) {
    fail("logged '" + errors[0] + "', which does not hold '" + text + "'");
  }
  errors.clear();
}

nvinfer1::IPluginV3* create(const std::string& name, const Fields& fields,
                            nvinfer1::TensorRTPhase phase) {
  const nvinfer1::PluginFieldCollection collection{static_cast<std::int32_t>(fields.size()),
                                                   fields.data()};
  return creator(name).createPlugin("layer", &collection, phase);
}

}  // namespace harness

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s LIBRARY\n", argv[0]), 2;
  try {
    harness::load(argv[1]);
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 2;
  }
  return harness::run(harness::attention_cases()) + harness::run(harness::pooling_cases()) == 0 ? 0
                                                                                                : 1;
}
