// The two steps of the linear operators on one instruction set: preparing rows (normalize, round or
// quantize) and multiplying them by panels of weights.
//
// A Dot multiplies one type of weights: a step takes panel_inputs(kType) consecutive inputs of 16
// columns. Its members:
//   kType        the type of weights
//   Weight, Input, Sum   the types in memory of weights, prepared rows and sums
//   kParts       the number of vectors for the sums of 16 columns
//   kRows, kVectors   the block of accumulators that fits in the registers: rows x vectors
//   Acc, zero(), weights(from, part), inputs(from), multiply_add(acc, weights, inputs)
//   store(acc of all parts of a panel, to)   writes the 16 sums
// Integer sums are exact in any order. Float sums have an order that does not depend on the number
// of rows, so that the bits of a result depend on its own row alone.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_LINEAR_KERNEL_H_
#define MBERT_PLUGINS_CPU_LINEAR_KERNEL_H_

#include <cstdint>

#include "activation.h"
#include "linear_task.h"
#include "simd.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

template <int kLanes>
[[gnu::always_inline]] inline float sum_of(typename Simd<kLanes>::Float value) {
  float sum = 0.0f;
  for (int i = 0; i < kLanes; ++i) sum += value[i];
  return sum;
}

template <typename Dot, int kLanes>
class RowPreparer {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;
  using To = typename Dot::Input;

 public:
  static void run(const PrepareTask& task) {
    for (std::int64_t row = 0; row < task.rows; ++row) {
      const float* x = task.x + row * task.inputs;
      To* to = static_cast<To*>(task.prepared) + row * task.inputs;
      if constexpr (Dot::kType == WeightType::kFloat32) {
        normalize(task, x, to);
      } else {
        if (task.norm_weight != nullptr) {
          normalize(task, x, task.normalized);
          x = task.normalized;
        }
        if constexpr (Dot::kType == WeightType::kBFloat16) {
          for (std::int64_t i = 0; i < task.inputs; i += kLanes) Dot::round(V::load(x + i), to + i);
        } else {
          task.scale[row] = quantize(x, task.inputs, to);
        }
      }
    }
  }

 private:
  // LayerNorm; the variance is the mean of the squared differences from the mean.
  static void normalize(const PrepareTask& task, const float* x, float* to) {
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
      V::store(to + i, (V::load(x + i) - mean) * factor * V::load(task.norm_weight + i) +
                           V::load(task.norm_bias + i));
    }
  }

  static QuantizedRow quantize(const float* x, std::int64_t inputs, To* to) {
    // Compared as integers, magnitudes have the order of floats and NaN is above infinity: the
    // maximum does not lose it.
    Int largest = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      const Int bits = bit_cast<Int>(V::load(x + i)) & 0x7fffffff;
      largest = bits > largest ? bits : largest;
    }
    std::int32_t bits = 0;
    for (int i = 0; i < kLanes; ++i) bits = largest[i] > bits ? largest[i] : bits;
    const float magnitude = bit_cast<float>(bits);
    // Below 127 / FLT_MAX = 3.7e-37 the quotient would overflow: such a row counts as zeros.
    const float inverse = magnitude < 1e-36f ? 0.0f : kQuantizedLargest / magnitude;
    Int sum = {};
    for (std::int64_t i = 0; i < inputs; i += kLanes) {
      // Adding 1.5 * 2^23 rounds to an integer (ties to even) and puts it into the low bits.
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

// Two panels that are multiplied together, and the writing of their results.
template <typename Dot, int kLanes>
class PanelPair {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;
  using Weight = typename Dot::Weight;
  using Sum = typename Dot::Sum;

 public:
  PanelPair(const MultiplyTask& task, std::int64_t index)
      : column_(index * kPairColumns), whole_(column_ + kPanelColumns < task.outputs) {
    // If the second panel is missing, the first one stands in, and its second result is dropped.
    panels[0] = static_cast<const Weight*>(task.weight) + column_ * task.inputs;
    panels[1] = whole_ ? panels[0] + kPanelColumns * task.inputs : panels[0];
  }

  const Weight* panels[2];

  // Writes the results of rows, given sums[row][column of the pair].
  void finish(const MultiplyTask& task, std::int64_t row, int rows, const Sum* sums) const {
    if (!task.gated) {
      const std::int64_t columns = whole_ ? kPairColumns : kPanelColumns;
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t at = (row + r) * task.columns + column_;
        for (std::int64_t c = 0; c < columns; c += kLanes) {
          Float value = layer_of(task, row + r, column_ + c, sums + r * kPairColumns + c);
          if (task.residual != nullptr) value += V::load(task.residual + at + c);
          V::store(task.out + at + c, value);
        }
      }
      return;
    }
    switch (task.activation) {
      case Activation::kGelu:
        return gate<Activation::kGelu>(task, row, rows, sums);
      case Activation::kSilu:
        return gate<Activation::kSilu>(task, row, rows, sums);
      case Activation::kRelu:
        return gate<Activation::kRelu>(task, row, rows, sums);
      case Activation::kGeluTanh:
        return gate<Activation::kGeluTanh>(task, row, rows, sums);
    }
  }

 private:
  // The first panel of a pair has values, the second the gates of the same channels.
  template <Activation kActivation>
  void gate(const MultiplyTask& task, std::int64_t row, int rows, const Sum* sums) const {
    for (std::int64_t r = 0; r < rows; ++r) {
      float* out = task.out + (row + r) * task.columns + column_ / 2;
      const Sum* sum = sums + r * kPairColumns;
      for (std::int64_t c = 0; c < kPanelColumns; c += kLanes) {
        const std::int64_t g = kPanelColumns + c;
        const Float value = layer_of(task, row + r, column_ + c, sum + c);
        const Float factor = layer_of(task, row + r, column_ + g, sum + g);
        V::store(out + c, Activations<kLanes>::template apply<kActivation>(value) * factor);
      }
    }
  }

  // Returns the outputs of the linear layer for kLanes columns, given their sums.
  [[gnu::always_inline]] static Float layer_of(const MultiplyTask& task, std::int64_t row,
                                               std::int64_t column, const Sum* sums) {
    const Float bias = V::load(task.bias + column);
    if constexpr (Dot::kType == WeightType::kInt8) {
      const QuantizedRow of_row = task.scale[row];
      const Int sum = read<Int>(sums) - Dot::kZero * of_row.sum;
      return __builtin_convertvector(sum, Float) * of_row.scale *
                 V::load(task.weight_scale + column) +
             bias;
    } else {
      return V::load(sums) + bias;
    }
  }

  std::int64_t column_;
  bool whole_;
};

template <typename Dot, int kLanes>
class PanelMultiplier {
  using Pair = PanelPair<Dot, kLanes>;
  using Weight = typename Dot::Weight;
  using Input = typename Dot::Input;
  using Sum = typename Dot::Sum;

  static constexpr int kVectors = Dot::kVectors, kParts = Dot::kParts;
  static constexpr std::int64_t kStep = panel_inputs(Dot::kType);
  // Floats are summed in blocks of inputs: a single long sum would accumulate rounding errors.
  static constexpr std::int64_t kBlock = 768;
  static_assert(2 * kParts % kVectors == 0 && kPanelColumns % kLanes == 0);

 public:
  static void run(const MultiplyTask& task) {
    for (std::int64_t i = 0; i < task.pairs; ++i) {
      multiply_rows<Dot::kRows>(task, Pair(task, task.first_pair + i), 0);
    }
  }

 private:
  // Multiplies the rows from `row`, kRows at a time; the remainder with kRows / 2, and so on.
  template <int kRows>
  static void multiply_rows(const MultiplyTask& task, const Pair& pair, std::int64_t row) {
    for (; row + kRows <= task.rows; row += kRows) {
      Sum sums[kRows * kPairColumns];
      const auto* a = static_cast<const Input*>(task.prepared) + row * task.inputs;
      if constexpr (Dot::kType == WeightType::kInt8) {
        multiply<kRows>(a, pair.panels, task.inputs, task.inputs, sums);
      } else {
        add_blocks<kRows>(a, pair.panels, task.inputs, sums);
      }
      pair.finish(task, row, kRows, sums);
    }
    if constexpr (kRows > 1) multiply_rows<kRows / 2>(task, pair, row);
  }

  template <int kRows>
  [[gnu::always_inline]] static void add_blocks(const Input* a, const Weight* const* panels,
                                                std::int64_t inputs, Sum* sums) {
    for (std::int64_t first = 0; first < inputs; first += kBlock) {
      const Weight* block[2] = {panels[0] + first * kPanelColumns,
                                panels[1] + first * kPanelColumns};
      const std::int64_t left = inputs - first;
      Sum more[kRows * kPairColumns];
      Sum* to = first == 0 ? sums : more;
      multiply<kRows>(a + first, block, inputs, left < kBlock ? left : kBlock, to);
      if (first == 0) continue;
      for (int i = 0; i < kRows * kPairColumns; ++i) sums[i] += more[i];
    }
  }

  // Computes sums[row][column of the pair] for kRows rows, `stride` elements apart, over `inputs`
  // inputs.
  template <int kRows>
  [[gnu::always_inline]] static void multiply(const Input* a, const Weight* const* panels,
                                              std::int64_t stride, std::int64_t inputs, Sum* sums) {
    typename Dot::Acc all[kRows][2 * kParts];
#pragma GCC unroll 8
    for (int v = 0; v < 2 * kParts; v += kVectors) {
      typename Dot::Acc acc[kRows][kVectors];
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) acc[r][j] = Dot::zero();
      }
      for (std::int64_t k = 0; k < inputs; k += kStep) {
        decltype(Dot::weights(nullptr, 0)) w[kVectors];
#pragma GCC unroll 8
        for (int j = 0; j < kVectors; ++j) {
          w[j] = Dot::weights(panels[(v + j) / kParts] + k * kPanelColumns, (v + j) % kParts);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; ++r) {
          const auto one = Dot::inputs(a + r * stride + k);
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
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_LINEAR_KERNEL_H_
