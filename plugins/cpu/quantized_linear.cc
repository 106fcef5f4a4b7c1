#include "quantized_linear.h"

#include <algorithm>
#include <cstring>

#include "quantized_linear_task.h"

namespace mbert::cpu {
namespace {

// Sums of 127 * 255 and the correction for the weights' zero stay within 32 bits.
constexpr std::int64_t kMaxInputs = 32768;

// Rows that are quantized in one task, and rows and pairs of panels that are multiplied in one:
// their bytes stay in a core's own cache. With few rows, smaller tasks, for every thread to get
// some.
constexpr std::int64_t kQuantizeRows = 16;
constexpr std::int64_t kMultiplyRows = 64;
constexpr std::int64_t kFewRows = 32;
constexpr std::int64_t kPairs = 4;
constexpr std::int64_t kPairsOfFewRows = 1;

const QuantizedLinearKernels& kernels(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx512Vnni:
      return avx512_vnni::kQuantizedLinear;
    case Isa::kAvx512:
      return avx512::kQuantizedLinear;
    case Isa::kAvxVnni:
      return avx_vnni::kQuantizedLinear;
    case Isa::kAvx2:
      return avx2::kQuantizedLinear;
#elif defined(__aarch64__)
    case Isa::kNeonDot:
      return neon_dot::kQuantizedLinear;
    case Isa::kNeon:
      return neon::kQuantizedLinear;
#endif
    default:
      return scalar::kQuantizedLinear;
  }
}

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::size_t aligned(std::int64_t bytes) {
  return static_cast<std::size_t>(divide_up(bytes, 64) * 64);
}

// Where things lie in the scratch.
struct Layout {
  std::size_t row_bytes;
  std::size_t quantized;
  std::size_t scales;

  Layout(const QuantizedLinearParams& params, const QuantizedLinearKernels& table)
      : row_bytes(static_cast<std::size_t>(params.inputs * table.activation_bytes)),
        quantized(aligned(divide_up(params.tokens, kTileRows) * kTileRows *
                          static_cast<std::int64_t>(row_bytes))),
        scales(aligned(params.tokens * static_cast<std::int64_t>(sizeof(QuantizedRow)))) {}

  std::size_t bytes() const { return quantized + scales; }
};

// Where a thread normalizes a row.
float* thread_row() {
  alignas(64) thread_local float row[kMaxInputs];
  return row;
}

}  // namespace

std::string validate(const QuantizedLinearParams& params) {
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

std::size_t scratch_bytes(const QuantizedLinearParams& params, Isa isa) {
  return Layout(params, kernels(isa)).bytes();
}

void run(const QuantizedLinearParams& params, Isa isa, void* scratch,
         const ParallelFor& parallel_for) {
  if (params.tokens == 0) return;
  const QuantizedLinearKernels& table = kernels(isa);
  const Layout layout(params, table);
  char* const quantized = static_cast<char*>(scratch);
  auto* const scales = reinterpret_cast<QuantizedRow*>(quantized + layout.quantized);
  // The rows that fill up the last tile are multiplied, too, and the results dropped.
  const std::size_t used = static_cast<std::size_t>(params.tokens) * layout.row_bytes;
  std::memset(quantized + used, 0, layout.quantized - used);

  const auto quantize = [&](std::int64_t first, std::int64_t rows) {
    QuantizeTask task;
    task.x = params.x + first * params.inputs;
    task.rows = rows;
    task.inputs = params.inputs;
    task.norm_weight = params.norm_weight;
    task.norm_bias = params.norm_bias;
    task.epsilon = params.epsilon;
    task.normalized = params.norm_weight == nullptr ? nullptr : thread_row();
    task.quantized = quantized + static_cast<std::size_t>(first) * layout.row_bytes;
    task.scale = scales + first;
    table.quantize(task);
  };
  if (params.tokens <= kQuantizeRows) {
    quantize(0, params.tokens);  // not worth waking anybody
  } else {
    parallel_for(divide_up(params.tokens, kQuantizeRows), [&](std::int64_t index) {
      const std::int64_t first = index * kQuantizeRows;
      quantize(first, std::min(kQuantizeRows, params.tokens - first));
    });
  }

  const std::int64_t pairs = divide_up(params.outputs, kPairColumns);
  const std::int64_t step = params.tokens <= kFewRows ? kPairsOfFewRows : kPairs;
  const std::int64_t groups = divide_up(pairs, step);
  parallel_for(groups * divide_up(params.tokens, kMultiplyRows), [&](std::int64_t index) {
    const std::int64_t first = index / groups * kMultiplyRows;
    MultiplyTask task;
    task.quantized = quantized + static_cast<std::size_t>(first) * layout.row_bytes;
    task.scale = scales + first;
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
    table.multiply(task);
  });
}

}  // namespace mbert::cpu
