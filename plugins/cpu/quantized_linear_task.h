// What the driver of the quantized linear operator hands to the kernels of one instruction set.
// Plain data only: kernels are compiled with flags under which nothing shared may be instantiated.
#ifndef MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_TASK_H_
#define MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_TASK_H_

#include <cstdint>

#include "common/operator_types.h"
#include "quantized_linear_layout.h"

namespace mbert::cpu {

// Panels that are multiplied together; of a gated operator one holds values, the other their gates.
constexpr std::int64_t kPairColumns = 2 * kPanelColumns;

// The quantized rows are padded to a multiple of this, so that every tile is whole.
constexpr std::int64_t kTileRows = 8;

// Weights are stored as unsigned bytes around this.
constexpr std::int32_t kWeightZero = 128;

// The largest quantized magnitude. Not 128: the range is symmetric.
constexpr float kQuantizedLargest = 127.0f;

// A quantized row: the value of element k is scale * (its integer).
struct QuantizedRow {
  float scale;
  std::int32_t sum;  // of the integers
};

// Normalizes (where norm_weight is not null) and quantizes rows.
struct QuantizeTask {
  const float* x;
  std::int64_t rows;
  std::int64_t inputs;
  const float* norm_weight;
  const float* norm_bias;
  float epsilon;
  float* normalized;    // [inputs] of scratch
  void* quantized;      // [rows, inputs] of the kernels' activation type
  QuantizedRow* scale;  // [rows]
};

// Multiplies rows with pairs of panels.
struct MultiplyTask {
  const void* quantized;      // the first row
  const QuantizedRow* scale;  // of the first row
  std::int64_t rows;          // to be stored; tiles beyond them are computed up to kTileRows
  std::int64_t inputs;
  const std::uint8_t* weight;  // [outputs / 16, inputs / 4, 16, 4], all of it
  const float* weight_scale;   // [outputs]
  const float* bias;           // [outputs]
  std::int64_t outputs;        // columns of the weights
  std::int64_t first_pair;
  std::int64_t pairs;
  const float* residual;  // null, or like `out`
  bool gated;
  Activation activation;  // of the values, where gated
  float* out;             // the first row, [rows, columns]
  std::int64_t columns;   // outputs, or half of them where gated
};

struct QuantizedLinearKernels {
  std::int64_t activation_bytes;  // of one quantized element
  void (*quantize)(const QuantizeTask& task);
  void (*multiply)(const MultiplyTask& task);
};

// Those that the build compiled; isa.h says which can run.
namespace scalar {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace avx2 {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace avx_vnni {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace avx512 {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace avx512_vnni {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace neon {
extern const QuantizedLinearKernels kQuantizedLinear;
}
namespace neon_dot {
extern const QuantizedLinearKernels kQuantizedLinear;
}

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_TASK_H_
