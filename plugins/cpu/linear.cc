#include "linear.h"

#include <algorithm>

#include "linear_task.h"

namespace mbert::cpu {

// The kernels of each instruction set: linear_isa.cc.
#define MBERT_ISA(name, ...)        \
  namespace name {                  \
  extern const LinearTable kLinear; \
  }
#include "isa_list.h"

namespace {

// For more inputs, sums of 127 * 255 and their zero-point correction could overflow 32 bits.
constexpr std::int64_t kMaxInputs = 32768;

// Sizes of tasks, whose data fits in a core's private cache: rows to prepare; rows and pairs of
// panels to multiply. Few rows are divided into smaller tasks, so that every thread has some.
constexpr std::int64_t kPrepareRows = 16;
constexpr std::int64_t kMultiplyRows = 64;
constexpr std::int64_t kFewRows = 32;
constexpr std::int64_t kPairs = 4;
constexpr std::int64_t kPairsOfFewRows = 1;

const LinearTable& table_of(Isa isa) {
  static const LinearTable* const kTables[] = {
#define MBERT_ISA(name, ...) &name::kLinear,
#include "isa_list.h"
  };
  return *kTables[static_cast<std::size_t>(isa)];
}

const LinearKernels& kernels(WeightType type, Isa isa) {
  const LinearTable& table = table_of(isa);
  switch (type) {
    case WeightType::kInt8:
      return table.int8;
    case WeightType::kBFloat16:
      return table.bfloat16;
    default:
      return table.float32;
  }
}

// Returns whether rows are prepared; float rows without a norm are multiplied in place.
bool prepares(const LinearParams& params) {
  return params.weight_type != WeightType::kFloat32 || params.norm_weight != nullptr;
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::size_t aligned(std::int64_t bytes) {
  return static_cast<std::size_t>(divide_up(bytes, 64) * 64);
}

// The layout of the scratch memory: the prepared rows, then their scales.
struct Layout {
  std::size_t row_bytes = 0;
  std::size_t prepared = 0;
  std::size_t scales = 0;

  Layout(const LinearParams& params, const LinearKernels& kernel) {
    row_bytes = static_cast<std::size_t>(params.inputs * kernel.input_bytes);
    if (!prepares(params)) return;
    prepared = aligned(params.tokens * static_cast<std::int64_t>(row_bytes));
    if (params.weight_type == WeightType::kInt8) {
      scales = aligned(params.tokens * static_cast<std::int64_t>(sizeof(QuantizedRow)));
    }
  }

  std::size_t bytes() const { return prepared + scales; }
};

// Returns a thread's memory for one normalized row.
float* thread_row() {
  alignas(64) thread_local float row[kMaxInputs];
  return row;
}

}  // namespace

std::string validate(const LinearParams& params) {
  if (params.inputs < 16 || params.inputs > kMaxInputs || params.inputs % 16 != 0) {
    return "the rows have " + std::to_string(params.inputs) +
           " elements; it has to be a multiple of 16 from 16 to " + std::to_string(kMaxInputs);
  }
  const std::int64_t multiple = params.gated ? kPairColumns : kPanelColumns;
  if (params.outputs < multiple || params.outputs % multiple != 0) {
    return "the weights have " + std::to_string(params.outputs) +
           " outputs; it has to be a multiple of " + std::to_string(multiple);
  }
  if (params.tokens < 0) {
    return "tokens is " + std::to_string(params.tokens) + "; it cannot be negative";
  }
  return {};
}

std::size_t scratch_bytes(const LinearParams& params, Isa isa) {
  return Layout(params, kernels(params.weight_type, isa)).bytes();
}

void run(const LinearParams& params, Isa isa, void* scratch, const ParallelFor& parallel_for) {
  if (params.tokens == 0) return;
  const LinearKernels& kernel = kernels(params.weight_type, isa);
  const Layout layout(params, kernel);
  char* const prepared = static_cast<char*>(scratch);
  const auto scale_of = [&](std::int64_t row) {
    return layout.scales == 0 ? nullptr
                              : reinterpret_cast<QuantizedRow*>(prepared + layout.prepared) + row;
  };

  const auto prepare = [&](std::int64_t first, std::int64_t rows) {
    PrepareTask task;
    task.x = params.x + first * params.inputs;
    task.rows = rows;
    task.inputs = params.inputs;
    task.norm_weight = params.norm_weight;
    task.norm_bias = params.norm_bias;
    task.epsilon = params.epsilon;
    task.normalized = params.norm_weight == nullptr ? nullptr : thread_row();
    task.prepared = prepared + static_cast<std::size_t>(first) * layout.row_bytes;
    task.scale = scale_of(first);
    kernel.prepare(task);
  };
  if (prepares(params) && params.tokens <= kPrepareRows) {
    prepare(0, params.tokens);  // too little to wake other threads
  } else if (prepares(params)) {
    parallel_for(divide_up(params.tokens, kPrepareRows), [&](std::int64_t index) {
      const std::int64_t first = index * kPrepareRows;
      prepare(first, std::min(kPrepareRows, params.tokens - first));
    });
  }

  const char* const rows = prepares(params) ? prepared : reinterpret_cast<const char*>(params.x);
  const std::int64_t pairs = divide_up(params.outputs, kPairColumns);
  const std::int64_t step = params.tokens <= kFewRows ? kPairsOfFewRows : kPairs;
  const std::int64_t groups = divide_up(pairs, step);
  parallel_for(groups * divide_up(params.tokens, kMultiplyRows), [&](std::int64_t index) {
    const std::int64_t first = index / groups * kMultiplyRows;
    MultiplyTask task;
    task.prepared = rows + static_cast<std::size_t>(first) * layout.row_bytes;
    task.scale = scale_of(first);
    task.rows = std::min(kMultiplyRows, params.tokens - first);
    task.inputs = params.inputs;
    task.weight = params.weight;
    task.weight_scale = params.weight_scale;
    task.bias = params.bias;
    task.outputs = params.outputs;
    task.first_pair = index % groups * step;
    task.pairs = std::min(step, pairs - task.first_pair);
    task.columns = params.columns();
    task.residual = params.residual == nullptr ? nullptr : params.residual + first * task.columns;
    task.gated = params.gated;
    task.activation = params.activation;
    task.out = params.out + first * task.columns;
    kernel.multiply(task);
  });
}

}  // namespace mbert::cpu
