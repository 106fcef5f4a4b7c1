// Prints the operators that a library registers with ONNX Runtime, one per line: name, execution
// provider, input types and input memory types.
#include <dlfcn.h>

#include <cstdio>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

namespace {

OrtApi api;

// The part of the API that the library needs to register its operators.
void make_api() {
  api.CreateCustomOpDomain = [](const char* name,
                                OrtCustomOpDomain** domain) noexcept -> OrtStatus* {
    std::printf("domain %s\n", name);
    *domain = reinterpret_cast<OrtCustomOpDomain*>(&api);
    return nullptr;
  };
  api.ReleaseCustomOpDomain = [](OrtCustomOpDomain*) {};
  api.CustomOpDomain_Add = [](OrtCustomOpDomain*, const OrtCustomOp* op) noexcept -> OrtStatus* {
    std::printf("%s %s types", op->GetName(op), op->GetExecutionProviderType(op));
    const std::size_t inputs = op->GetInputTypeCount(op);
    for (std::size_t i = 0; i < inputs; ++i) std::printf(" %d", op->GetInputType(op, i));
    std::printf(" memory");
    for (std::size_t i = 0; i < inputs; ++i) std::printf(" %d", op->GetInputMemoryType(op, i));
    std::printf("\n");
    return nullptr;
  };
  api.AddCustomOpDomain = [](OrtSessionOptions*, OrtCustomOpDomain*) noexcept -> OrtStatus* {
    return nullptr;
  };
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s LIBRARY\n", argv[0]), 2;
  void* const library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 2;
  using Register = OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*);
  const auto entry = reinterpret_cast<Register>(dlsym(library, "RegisterCustomOps"));
  if (entry == nullptr) return std::fprintf(stderr, "%s\n", dlerror()), 2;
  make_api();
  const OrtApiBase base = {[](std::uint32_t) noexcept -> const OrtApi* { return &api; },
                           []() noexcept -> const char* { return "none"; }};
  return entry(nullptr, &base) == nullptr ? 0 : 1;
}
