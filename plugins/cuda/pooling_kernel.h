// The pooling kernel: one block of threads for each sequence and 32 columns.
#ifndef MBERT_PLUGINS_CUDA_POOLING_KERNEL_H_
#define MBERT_PLUGINS_CUDA_POOLING_KERNEL_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "arch/types.h"
#include "pooling_params.h"
#include "sequences.h"

namespace mbert::cuda {

// The arrays are those of VarlenPoolingParams.
template <class T>
struct VarlenPoolingArguments {
  const T* hidden;
  const std::int32_t* cu_seqlens;
  T* pooled;
  int tokens;
  int sequences;
  int columns;
  PoolingMode mode;
};

// The parameters must be valid, and T the type that params.type names.
template <class T>
VarlenPoolingArguments<T> make_arguments(const VarlenPoolingParams& params) {
  return {static_cast<const T*>(params.hidden),
          params.cu_seqlens,
          static_cast<T*>(params.pooled),
          static_cast<int>(params.tokens),
          static_cast<int>(params.sequences),
          static_cast<int>(params.columns),
          params.mode};
}

struct VarlenPoolingTiling {
  // Each lane has one column, each warp every kWarps-th row.
  static constexpr int kColumns = kWarpSize;
  static constexpr int kWarps = 8;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr std::uint32_t kSharedBytes = kThreads * sizeof(float);

  static constexpr int grid_x(int sequences) { return sequences; }
  static constexpr int grid_y(int columns) { return (columns + kColumns - 1) / kColumns; }
};

template <class T, class Machine>
MBERT_DEVICE float load_element(Machine& machine, const T* from) {
  const T element = machine.load_global(from);
  if constexpr (std::is_same_v<T, float>) {
    return element;
  } else {
    return machine.template unpack<T>(element.bits).x;
  }
}

template <class T, class Machine>
MBERT_DEVICE void store_element(Machine& machine, T* to, float value) {
  if constexpr (std::is_same_v<T, float>) {
    machine.store_global(to, value);
  } else {
    machine.store_global(to, T{static_cast<std::uint16_t>(machine.template pack<T>(value, 0.0f))});
  }
}

// Returns the maximum; NaN if a or b is NaN.
MBERT_DEVICE float larger(float a, float b) { return b > a || b != b ? b : a; }

MBERT_DEVICE float pooling_divisor(PoolingMode mode, int rows) {
  const auto count = static_cast<float>(rows);
  switch (mode) {
    case PoolingMode::kMean:
      return count;
    case PoolingMode::kMeanSqrtLen:
      return sqrtf(count);
    case PoolingMode::kWeightedMean:
      return 0.5f * count * (count + 1.0f);
    default:
      return 1.0f;
  }
}

template <class T, class Machine>
MBERT_DEVICE void varlen_pooling(Machine& machine, const VarlenPoolingArguments<T>& arguments) {
  using Tiling = VarlenPoolingTiling;
  const int index = machine.block_x();
  const Sequence sequence =
      load_sequence(machine, arguments.cu_seqlens, index, arguments.sequences, arguments.tokens);
  const int lane = machine.thread() % kWarpSize;
  const int warp = machine.thread() / kWarpSize;
  const int column = machine.block_y() * Tiling::kColumns + lane;
  const bool exists = column < arguments.columns;
  const PoolingMode mode = arguments.mode;
  const bool is_last_only = mode == PoolingMode::kLastToken && sequence.length > 0;
  // These modes are a sum over one token.
  const bool is_one_only = is_last_only || (mode == PoolingMode::kCls && sequence.length > 0);
  const int rows = !exists ? 0 : is_one_only ? 1 : sequence.length;
  const std::int64_t columns = arguments.columns;
  const std::int64_t begin = sequence.begin + (is_last_only ? sequence.length - 1 : 0);
  const T* from = arguments.hidden + begin * columns + column;

  const bool is_max = mode == PoolingMode::kMax;
  const bool is_weighted = mode == PoolingMode::kWeightedMean;
  const float none = is_max ? -INFINITY : 0.0f;
  const auto combined = [&](float a, float b) { return is_max ? larger(a, b) : a + b; };
  // One running sum over thousands of rows would lose precision.
  constexpr int kRows = 64 * Tiling::kWarps;
  float total = none;
  for (int first = warp; first < rows; first += kRows) {
    const int end = rows - first < kRows ? rows : first + kRows;
    float partial = none;
    MBERT_UNROLL_BY(4)
    for (int row = first; row < end; row += Tiling::kWarps) {
      const float value = load_element(machine, from + row * columns);
      partial = combined(partial, is_weighted ? value * static_cast<float>(row + 1) : value);
    }
    total = combined(total, partial);
  }
  const auto place = [](int of_warp, int of_lane) {
    return static_cast<std::uint32_t>((of_warp * kWarpSize + of_lane) * 4);
  };
  machine.store_shared(place(warp, lane), total);
  machine.barrier();
  if (warp > 0 || !exists) return;
  total = none;
  MBERT_UNROLL
  for (int part = 0; part < Tiling::kWarps; ++part) {
    total = combined(total, machine.template load_shared<float>(place(part, lane)));
  }
  store_element(machine, arguments.pooled + index * columns + column,
                rows > 0 ? total / pooling_divisor(mode, rows) : 0.0f);
}

// Launches the kernel of one call with launcher.pool(shape, arguments), which runs
// varlen_pooling(). params must be valid.
template <class Launcher>
void schedule(const VarlenPoolingParams& params, Launcher& launcher) {
  using Tiling = VarlenPoolingTiling;
  const auto pool = [&](const auto& arguments) {
    const LaunchShape shape = {Tiling::grid_x(arguments.sequences),
                               Tiling::grid_y(arguments.columns), Tiling::kThreads,
                               Tiling::kSharedBytes};
    launcher.pool(shape, arguments);
  };
  switch (params.type) {
    case ElementType::kFloat32:
      return pool(make_arguments<float>(params));
    case ElementType::kFloat16:
      return pool(make_arguments<Float16>(params));
    case ElementType::kBFloat16:
      return pool(make_arguments<BFloat16>(params));
  }
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_POOLING_KERNEL_H_
