// What the driver of the linear operators hands to the kernels of one instruction set. Plain data
// only: kernels are compiled with flags under which nothing shared may be instantiated.
#ifndef MBERT_PLUGINS_CPU_LINEAR_TASK_H_
#define MBERT_PLUGINS_CPU_LINEAR_TASK_H_

#include <cstdint>

#include "common/operator_types.h"
#include "linear_layout.h"

namespace mbert::cpu {

// Panels that are multiplied together; of a gated operator one holds values, the other their gates.
constexpr std::int64_t kPairColumns = 2 * kPanelColumns;

// Weights of 8 bits are stored as unsigned bytes around this.
constexpr std::int32_t kWeightZero = 128;

// The largest quantized magnitude. Not 128: the range is symmetric.
constexpr float kQuantizedLargest = 127.0f;

// A quantized row: the value of element k is scale * (its integer).
struct QuantizedRow {
  float scale;
  std::int32_t sum;  // of the integers
};

// Normalizes rows (where norm_weight is not null) and converts them to what is multiplied.
struct PrepareTask {
  const float* x;
  std::int64_t rows;
  std::int64_t inputs;
  const float* norm_weight;
  const float* norm_bias;
  float epsilon;
  float* normalized;    // [inputs] of scratch
  void* prepared;       // [rows, inputs] of the kernels' input type
  QuantizedRow* scale;  // [rows], of 8-bit weights
};

// Multiplies rows with pairs of panels.
struct MultiplyTask {
  const void* prepared;       // the first row
  const QuantizedRow* scale;  // of the first row, with 8-bit weights
  std::int64_t rows;
  std::int64_t inputs;
  const void* weight;         // [outputs / 16, inputs / n, 16, n], all of it
  const float* weight_scale;  // [outputs], of 8-bit weights
  const float* bias;          // [outputs]
  std::int64_t outputs;       // columns of the weights
  std::int64_t first_pair;
  std::int64_t pairs;
  const float* residual;  // null, or like `out`
  bool gated;
  Activation activation;  // of the values, where gated
  float* out;             // the first row, [rows, columns]
  std::int64_t columns;   // outputs, or half of them where gated
};

struct LinearKernels {
  std::int64_t input_bytes;  // of one prepared element
  void (*prepare)(const PrepareTask& task);
  void (*multiply)(const MultiplyTask& task);
};

// One for each type of weights.
struct LinearTable {
  LinearKernels float32;
  LinearKernels bfloat16;
  LinearKernels int8;
};

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_TASK_H_
