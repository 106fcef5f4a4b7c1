// The packed attention on the emulated GPU, called from Python.
#ifndef MBERT_TESTS_PLUGINS_CUDA_EMULATED_ATTENTION_H_
#define MBERT_TESTS_PLUGINS_CUDA_EMULATED_ATTENTION_H_

#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/varlen_attention_kernel.h"
#include "cuda/varlen_attention_schedule.h"
#include "emulated_launch.h"
#include "emulation/gpu.h"
#include "guarded.h"

namespace mbert::cuda {

// tests/support/emulated.py declares the same structure. The arrays are those of
// VarlenAttentionParams.
struct AttentionCall {
  const void* qkv;
  const std::int32_t* cu_seqlens;
  const float* rope;
  void* context;
  const std::int32_t* blocks;  // [block_count]: block_x of the blocks to run; empty: all
  std::int64_t tokens;
  std::int64_t sequences;
  std::int64_t max_position;
  std::int64_t num_heads;
  std::int64_t head_dim;
  std::int64_t window;
  std::int64_t block_count;
  std::uint64_t seed;
  float scale;
  std::int32_t element_type;
  std::int32_t rotation;
  std::int32_t capability;
  // Whether each row must be written exactly once; false for invalid offsets.
  std::int32_t exact;
};

inline VarlenAttentionParams params_of(const AttentionCall& call) {
  VarlenAttentionParams params;
  params.type = static_cast<ElementType>(call.element_type);
  params.qkv = call.qkv;
  params.cu_seqlens = call.cu_seqlens;
  params.tokens = call.tokens;
  params.sequences = call.sequences;
  params.rope = call.rope;
  params.max_position = call.max_position;
  params.num_heads = call.num_heads;
  params.head_dim = call.head_dim;
  params.scale = call.scale;
  params.window = call.window;
  params.context = call.context;
  params.rotation = static_cast<KeyRotation>(call.rotation);
  return params;
}

inline GlobalMemory memory_of(const VarlenAttentionParams& params, bool exact) {
  const auto bytes = [](std::int64_t count, std::int64_t size) {
    return static_cast<std::size_t>(count * size);
  };
  using Access = GlobalMemory::Access;
  const std::int64_t hidden = params.num_heads * params.head_dim;
  const std::int64_t element = element_size(params.type);
  const Access written = exact ? Access::kWrite : Access::kReadWrite;
  GlobalMemory memory;
  memory.add("qkv", params.qkv, bytes(params.tokens * 3 * hidden, element), Access::kRead);
  memory.add("cu_seqlens", params.cu_seqlens, bytes(params.sequences + 1, 4), Access::kRead);
  memory.add("rope", params.rope, bytes(params.max_position * params.head_dim, 4), Access::kRead);
  memory.add("context", params.context, bytes(params.tokens * hidden, element), written);
  memory.add("workspace", params.workspace, workspace_bytes(params), written);
  return memory;
}

// Runs the launches of schedule() on the emulated GPU. All keys are rotated, even if only some
// blocks of the attention are run.
class EmulatedAttention {
 public:
  EmulatedAttention(const AttentionCall& call, GlobalMemory& memory)
      : call_(call), memory_(memory), blocks_(call.blocks, call.blocks + call.block_count) {}

  template <class Tiling, class Arguments>
  void rotate_keys(const LaunchShape& shape, const Arguments& arguments) {
    emulate(launch(shape), memory_,
            [&](Emulated& machine) { cuda::rotate_keys<Tiling>(machine, arguments); });
  }

  template <class Tiling, KeyRotation kRotation, class Arguments>
  void attend(const LaunchShape& shape, const Arguments& arguments) {
    EmulatedLaunch chosen = launch(shape);
    if (!blocks_.empty()) chosen.filter = [this](int x, int) { return blocks_.count(x) != 0; };
    emulate(chosen, memory_,
            [&](Emulated& machine) { varlen_attention<Tiling, kRotation>(machine, arguments); });
  }

 private:
  EmulatedLaunch launch(const LaunchShape& shape) const {
    return emulated_launch(shape, call_.capability, call_.seed);
  }

  const AttentionCall& call_;
  GlobalMemory& memory_;
  std::set<int> blocks_;
};

template <class Tiling>
void emulate_attention(const AttentionCall& call, const VarlenAttentionParams& params) {
  GlobalMemory memory = memory_of(params, call.exact != 0);
  EmulatedAttention launcher(call, memory);
  schedule<Tiling>(params, launcher);
  if (call.exact && call.block_count == 0) memory.check_written("context");
}

// Calls run(call, params) if a launch would accept the parameters; throws otherwise.
template <class Run>
void validated(const AttentionCall& call, const Run& run) {
  VarlenAttentionParams params = params_of(call);
  // Filled with NaN of any type.
  std::vector<Words4> workspace(workspace_bytes(params) / sizeof(Words4), {{~0u, ~0u, ~0u, ~0u}});
  params.workspace = workspace.data();
  std::string problem = validate(params);
  if (problem.empty()) problem = validate_device(params.type, call.capability);
  if (!problem.empty()) throw std::runtime_error(problem);
  run(call, params);
}

}  // namespace mbert::cuda

#endif  // MBERT_TESTS_PLUGINS_CUDA_EMULATED_ATTENTION_H_
