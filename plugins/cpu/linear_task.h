// The interface between linear.cc and the kernels of one instruction set. Plain data only: the
// kernels are compiled with other flags, and must not instantiate shared code.
#ifndef MBERT_PLUGINS_CPU_LINEAR_TASK_H_
#define MBERT_PLUGINS_CPU_LINEAR_TASK_H_

#include <cstdint>

#include "common/operator_types.h"
#include "linear_layout.h"

namespace mbert::cpu {

// The columns of two panels, which are multiplied together: if gated, values and their gates.
constexpr std::int64_t kPairColumns = 2 * kPanelColumns;

// The zero point of 8-bit weights, which are stored as unsigned bytes.
constexpr std::int32_t kWeightZero = 128;

// The largest quantized magnitude: 127, because the range is symmetric.
constexpr float kQuantizedLargest = 127.0f;

// Scale and sum of a quantized row: the value of an element is scale * integer.
struct QuantizedRow {
  float scale;
  std::int32_t sum;  // of the row's integers
};

// Normalizes rows (unless norm_weight is null) and converts them to the kernels' input type.
struct PrepareTask {
  const float* x;
  std::int64_t rows;
  std::int64_t inputs;
  const float* norm_weight;
  const float* norm_bias;
  float epsilon;
  float* normalized;    // [inputs], scratch memory
  void* prepared;       // [rows, inputs] of Dot::Input
  QuantizedRow* scale;  // [rows]; int8 only
};

// Multiplies rows by pairs of panels.
struct MultiplyTask {
  const void* prepared;       // the first row
  const QuantizedRow* scale;  // of the first row; int8 only
  std::int64_t rows;
  std::int64_t inputs;
  const void* weight;         // all of it: [outputs / 16, inputs / n, 16, n]
  const float* weight_scale;  // [outputs]; int8 only
  const float* bias;          // [outputs]
  std::int64_t outputs;       // of the weights
  std::int64_t first_pair;
  std::int64_t pairs;
  const float* residual;  // of the shape of `out`, or null
  bool gated;
  Activation activation;  // of the values, if gated
  float* out;             // the first row, [rows, columns]
  std::int64_t columns;   // outputs; half of them if gated
};

struct LinearKernels {
  std::int64_t input_bytes;  // size of Dot::Input
  void (*prepare)(const PrepareTask& task);
  void (*multiply)(const MultiplyTask& task);
};

// The kernels for each type of weights.
struct LinearTable {
  LinearKernels float32;
  LinearKernels bfloat16;
  LinearKernels int8;
};

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_TASK_H_
