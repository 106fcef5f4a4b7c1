#include "varlen_attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "sequences.h"
#include "varlen_attention_task.h"

namespace mbert::cpu {

// The kernels of the instruction sets that have some: varlen_attention_isa.cc.
#define MBERT_ISA(name, enumerator, parent, attention, ...) \
  namespace attention {                                     \
  extern const VarlenAttentionKernels kVarlenAttention;     \
  }
#include "isa_list.h"

namespace {

// Far above any model; up to it, the arithmetic on offsets cannot overflow.
constexpr std::int64_t kMaxHeads = std::int64_t{1} << 20;

const VarlenAttentionKernels& kernels(Isa isa) {
  static const VarlenAttentionKernels* const kTables[] = {
#define MBERT_ISA(name, enumerator, parent, attention, ...) &attention::kVarlenAttention,
#include "isa_list.h"
  };
  return *kTables[static_cast<std::size_t>(isa)];
}

// Returns a thread's scratch memory. Not on the stack, which a host program may have made small.
float* thread_scratch() {
  alignas(64) thread_local float scratch[kScratchFloats];
  return scratch;
}

std::int64_t blocks(const VarlenAttentionParams& params, std::int64_t length) {
  const std::int64_t block = query_block(params.head_dim);
  return (length + block - 1) / block;
}

// The order of the tasks: longest sequences first, so that the last tasks, while other threads are
// idle, are short.
struct Plan {
  std::vector<std::int32_t> order;  // of the sequences, by index
  std::vector<std::int64_t>
      first_task;  // [sequences + 1], in that order; one task per head and block

  explicit Plan(const VarlenAttentionParams& params) {
    const std::int32_t* offsets = params.cu_seqlens;
    order.resize(static_cast<std::size_t>(params.sequences));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [offsets](std::int32_t a, std::int32_t b) {
      return offsets[a + 1] - offsets[a] > offsets[b + 1] - offsets[b];
    });
    first_task.reserve(order.size() + 1);
    first_task.push_back(0);
    for (const std::int32_t s : order) {
      const std::int64_t length = offsets[s + 1] - offsets[s];
      first_task.push_back(first_task.back() + params.num_heads * blocks(params, length));
    }
  }
};

VarlenAttentionTask make_task(const VarlenAttentionParams& params, const Plan& plan,
                              std::int64_t index) {
  const auto after = std::upper_bound(plan.first_task.begin(), plan.first_task.end(), index);
  const auto slot = static_cast<std::size_t>(after - plan.first_task.begin() - 1);
  const std::int64_t begin = params.cu_seqlens[plan.order[slot]];
  const std::int64_t length = params.cu_seqlens[plan.order[slot] + 1] - begin;
  const std::int64_t within = index - plan.first_task[slot];
  const std::int64_t count = blocks(params, length);
  // The blocks of a head are consecutive: they read the same keys.
  const std::int64_t head = within / count;
  const std::int64_t block = within % count;

  const std::int64_t hidden = params.num_heads * params.head_dim;
  const std::int64_t size = element_size(params.type);
  const std::int64_t column = head * params.head_dim;
  const char* row = static_cast<const char*>(params.qkv) + begin * 3 * hidden * size;
  VarlenAttentionTask task;
  task.q = row + column * size;
  task.k = row + (hidden + column) * size;
  task.v = row + (2 * hidden + column) * size;
  task.row_stride = 3 * hidden;
  task.out = static_cast<char*>(params.context) + (begin * hidden + column) * size;
  task.out_stride = hidden;
  task.rope = params.rope;
  task.head_dim = params.head_dim;
  task.length = length;
  task.first_query = block * query_block(params.head_dim);
  task.window = std::min(params.window, length);
  task.scale = params.scale * kLog2E;
  task.scratch = thread_scratch();
  return task;
}

}  // namespace

std::string validate_attributes(const VarlenAttentionParams& params) {
  return validate_attention_attributes(params.num_heads, kMaxHeads, params.scale, params.window);
}

std::string validate(const VarlenAttentionParams& params) {
  std::string problem = validate_attributes(params);
  if (!problem.empty()) return problem;
  if (params.head_dim < 16 || params.head_dim > kMaxHeadDim || params.head_dim % 16 != 0) {
    return "head_dim (the columns of rope) is " + std::to_string(params.head_dim) +
           "; it has to be a multiple of 16 from 16 to " + std::to_string(kMaxHeadDim);
  }
  if (params.tokens < 0 || params.max_position < 0) {
    return "tokens is " + std::to_string(params.tokens) + " and max_position " +
           std::to_string(params.max_position) + "; neither can be negative";
  }
  return validate_sequences(params.cu_seqlens, params.sequences, params.tokens,
                            params.max_position);
}

void run(const VarlenAttentionParams& params, Isa isa, const ParallelFor& parallel_for) {
  const VarlenAttentionKernels& table = kernels(isa);
  const auto kernel = params.type == ElementType::kFloat32   ? table.float32
                      : params.type == ElementType::kFloat16 ? table.float16
                                                             : table.bfloat16;
  const std::int64_t used = params.cu_seqlens[params.sequences];
  const std::int64_t row_bytes = params.num_heads * params.head_dim * element_size(params.type);
  if (used < params.tokens) {
    std::memset(static_cast<char*>(params.context) + used * row_bytes, 0,
                static_cast<std::size_t>((params.tokens - used) * row_bytes));
  }
  if (used == 0) return;
  const Plan plan(params);
  parallel_for(plan.first_task.back(),
               [&](std::int64_t index) { kernel(make_task(params, plan, index)); });
}

}  // namespace mbert::cpu
