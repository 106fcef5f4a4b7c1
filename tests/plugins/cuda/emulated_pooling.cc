// The packed pooling on the emulated GPU, called from Python.
#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda/pooling_kernel.h"
#include "emulated_launch.h"
#include "emulation/gpu.h"
#include "guarded.h"

namespace mbert::cuda {
namespace {

// Runs the launch of schedule() on the emulated GPU.
struct EmulatedPooling {
  GlobalMemory& memory;
  std::uint64_t seed;

  template <class T>
  void pool(const LaunchShape& shape, const VarlenPoolingArguments<T>& arguments) {
    emulate(emulated_launch(shape, 75, seed), memory,
            [&](Emulated& machine) { varlen_pooling(machine, arguments); });
  }
};

void run(const VarlenPoolingParams& params, std::uint64_t seed) {
  const auto bytes = [](std::int64_t count, std::int64_t size) {
    return static_cast<std::size_t>(count * size);
  };
  using Access = GlobalMemory::Access;
  const auto element = element_size(params.type);
  GlobalMemory memory;
  memory.add("hidden", params.hidden, bytes(params.tokens * params.columns, element),
             Access::kRead);
  memory.add("cu_seqlens", params.cu_seqlens, bytes(params.sequences + 1, 4), Access::kRead);
  memory.add("pooled", params.pooled, bytes(params.sequences * params.columns, element),
             Access::kWrite);
  EmulatedPooling launcher = {memory, seed};
  schedule(params, launcher);
  memory.check_written("pooled");
}

}  // namespace
}  // namespace mbert::cuda

// The arrays are those of VarlenPoolingParams; element_type and mode are the values of
// their enumerations.
// Writes the error message, or an empty string, into error[error_size].
extern "C" __attribute__((visibility("default"))) void mbert_emulated_pooling(
    std::int32_t element_type, std::int32_t mode, std::uint64_t seed, const void* hidden,
    std::int64_t tokens, std::int64_t columns, const std::int32_t* cu_seqlens,
    std::int64_t sequences, void* pooled, char* error, std::int64_t error_size) {
  using namespace mbert::cuda;
  VarlenPoolingParams params;
  params.type = static_cast<ElementType>(element_type);
  params.hidden = hidden;
  params.tokens = tokens;
  params.columns = columns;
  params.cu_seqlens = cu_seqlens;
  params.sequences = sequences;
  params.pooled = pooled;
  guarded(error, error_size, [&] {
    std::string problem = parse_pooling_mode(mode, &params.mode);
    if (problem.empty()) problem = validate(params);
    if (!problem.empty()) throw std::runtime_error(problem);
    run(params, seed);
  });
}
