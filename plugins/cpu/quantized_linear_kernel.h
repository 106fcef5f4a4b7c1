// The quantized linear operator's two steps on one instruction set: rows of floats to bytes, and
// bytes times panels of weights.
//
// Sums of products are integers, thus exact in any order: bits of a result depend on nothing but
// its own row.
//
// Everything is in an anonymous namespace on purpose: see storage.h.
#ifndef MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_KERNEL_H_
#define MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_KERNEL_H_

#include <cstdint>

#include "activation.h"
#include "integer_dot.h"
#include "quantized_linear_task.h"
#include "simd.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

template <int kLanes>
[[gnu::always_inline]] inline float sum_of(typename Simd<kLanes>::Float value) {
  float sum = 0.0f;
  for (int i = 0; i < kLanes; ++i) sum += value[i];
  return sum;
}

template <typename To, int kLanes>
class RowQuantizer {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;

 public:
  static void run(const QuantizeTask& task) {
    for (std::int64_t row = 0; row < task.rows; ++row) {
      const float* x = task.x + row * task.inputs;
      if (task.norm_weight != nullptr) {
        normalize(task, x);
        x = task.normalized;
      }
      task.scale[row] =
          quantize(x, task.inputs, static_cast<To*>(task.quantized) + row * task.inputs);
    }
  }

 private:
  // LayerNorm, the variance from the differences to the mean.
  static void normalize(const QuantizeTask& task, const float* x) {
    const std::int64_t inputs = task.inputs;
    Float total = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) total += V::load(x + i);
    const float mean = sum_of<kLanes>(total) / static_cast<float>(inputs);
    Float squares = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      const Float difference = V::load(x + i) - mean;
      squares += difference * difference;
    }
    const float variance = sum_of<kLanes>(squares) / static_cast<float>(inputs);
    const float factor = 1.0f / __builtin_sqrtf(variance + task.epsilon);
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      V::store(task.normalized + i,
               (V::load(x + i) - mean) * factor * V::load(task.norm_weight + i) +
                   V::load(task.norm_bias + i));
    }
  }

  static QuantizedRow quantize(const float* x, std::int64_t inputs, To* to) {
    // As integers, magnitudes order like floats and NaN is above infinity: it is not lost.
    Int largest = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      const Int bits = bit_cast<Int>(V::load(x + i)) & 0x7fffffff;
      largest = bits > largest ? bits : largest;
    }
    std::int32_t bits = 0;
    for (int i = 0; i < kLanes; ++i) bits = largest[i] > bits ? largest[i] : bits;
    const float magnitude = bit_cast<float>(bits);
    // From 127 / FLT_MAX = 3.7e-37 down the quotient would not be finite: such a row counts as
    // zeros.
    const float inverse = magnitude < 1e-36f ? 0.0f : kQuantizedLargest / magnitude;
    Int sum = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      // Adding 1.5 * 2^23 rounds to an integer, to even, which is then found in the low bits.
      const Float rounded = V::load(x + i) * inverse + 12582912.0f;
      Int value = bit_cast<Int>(rounded) - 0x4b400000;
      value = value > 127 ? Int{} + 127 : value;  // NaN and infinity: the scale is not finite
      value = value < -127 ? Int{} - 127 : value;
      sum += value;
      using Stored [[gnu::vector_size(kLanes * sizeof(To))]] = To;
      const Stored stored = __builtin_convertvector(value, Stored);
      std::memcpy(to + i, &stored, sizeof(stored));
    }
    std::int32_t total = 0;
    for (int i = 0; i < kLanes; ++i) total += sum[i];
    return {magnitude / kQuantizedLargest, total};
  }
};

template <typename Dot, int kLanes>
class PanelMultiplier {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;
  using A = typename Dot::Activation;

  static constexpr int kRows = Dot::kRows, kVectors = Dot::kVectors, kParts = Dot::kParts;
  static_assert(kTileRows % kRows == 0 && 2 * kParts % kVectors == 0);
  static_assert(kPanelColumns % kLanes == 0);

 public:
  static void run(const MultiplyTask& task) {
    for (std::int64_t i = 0; i < task.pairs; ++i) {
      const std::int64_t column = (task.first_pair + i) * kPairColumns;
      // Of a pair that the last panel lacks, it stands for both, and one result is dropped.
      const bool whole = column + kPanelColumns < task.outputs;
      const std::uint8_t* first = task.weight + column * task.inputs;
      const std::uint8_t* panels[2] = {first, whole ? first + kPanelColumns * task.inputs : first};
      for (std::int64_t row = 0; row < task.rows; row += kTileRows) {
        std::int32_t sums[kTileRows * kPairColumns];
        const A* a = static_cast<const A*>(task.quantized) + row * task.inputs;
        for (int r = 0; r < kTileRows; r += kRows) {
          multiply(a + r * task.inputs, panels, task.inputs, sums + r * kPairColumns);
        }
        finish(task, row, column, whole, sums);
      }
    }
  }

 private:
  // sums[row][column of the pair] for kRows rows.
  [[gnu::always_inline]] static void multiply(const A* a, const std::uint8_t* const* panels,
                                              std::int64_t inputs, std::int32_t* sums) {
    typename Dot::Acc all[kRows][2 * kParts];
#pragma GCC unroll 8
    for (int v = 0; v < 2 * kParts; v += kVectors) {
      typename Dot::Acc acc[kRows][kVectors];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) acc[r][j] = Dot::zero();
      }
      for (std::int64_t k = 0; k < inputs; k += kPanelInputs) {
        decltype(Dot::weights(nullptr, 0)) w[kVectors];
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) {
          w[j] = Dot::weights(panels[(v + j) / kParts] + k * kPanelColumns, (v + j) % kParts);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const auto one = Dot::activations(a + r * inputs + k);
#pragma GCC unroll 8
          for (int j = 0; j < kVectors; ++j) acc[r][j] = Dot::multiply_add(acc[r][j], w[j], one);
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) all[r][v + j] = acc[r][j];
      }
    }
    for (int r = 0; r < kRows; ++r) {
      Dot::store(all[r], sums + r * kPairColumns);
      Dot::store(all[r] + kParts, sums + r * kPairColumns + kPanelColumns);
    }
  }

  static void finish(const MultiplyTask& task, std::int64_t row, std::int64_t column, bool whole,
                     const std::int32_t* sums) {
    const std::int64_t rows = task.rows - row < kTileRows ? task.rows - row : kTileRows;
    if (!task.gated) {
      const std::int64_t columns = whole ? kPairColumns : kPanelColumns;
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t at = (row + r) * task.columns + column;
        for (std::int64_t c = 0; c < columns; c += kLanes) {
          Float value = scaled(task, row + r, column + c, sums + r * kPairColumns + c);
          if (task.residual != nullptr) value += V::load(task.residual + at + c);
          V::store(task.out + at + c, value);
        }
      }
      return;
    }
    switch (task.activation) {
      case Activation::kGelu:
        return gate<Activation::kGelu>(task, row, rows, column, sums);
      case Activation::kSilu:
        return gate<Activation::kSilu>(task, row, rows, column, sums);
      case Activation::kRelu:
        return gate<Activation::kRelu>(task, row, rows, column, sums);
      case Activation::kGeluTanh:
        return gate<Activation::kGeluTanh>(task, row, rows, column, sums);
    }
  }

  // A pair's first panel holds values, the second one the gates of the same channels.
  template <Activation kActivation>
  static void gate(const MultiplyTask& task, std::int64_t row, std::int64_t rows,
                   std::int64_t column, const std::int32_t* sums) {
    for (std::int64_t r = 0; r < rows; ++r) {
      float* out = task.out + (row + r) * task.columns + column / 2;
      const std::int32_t* sum = sums + r * kPairColumns;
      for (std::int64_t c = 0; c < kPanelColumns; c += kLanes) {
        const Float value = scaled(task, row + r, column + c, sum + c);
        const std::int64_t g = kPanelColumns + c;
        const Float factor = scaled(task, row + r, column + g, sum + g);
        V::store(out + c, Activations<kLanes>::template apply<kActivation>(value) * factor);
      }
    }
  }

  [[gnu::always_inline]] static Float scaled(const MultiplyTask& task, std::int64_t row,
                                             std::int64_t column, const std::int32_t* sums) {
    const QuantizedRow of_row = task.scale[row];
    const Int sum = read<Int>(sums) - Dot::kZero * of_row.sum;
    return __builtin_convertvector(sum, Float) * of_row.scale *
               V::load(task.weight_scale + column) +
           V::load(task.bias + column);
  }
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_QUANTIZED_LINEAR_KERNEL_H_
