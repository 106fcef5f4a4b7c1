#include "pooling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "half.h"
#include "sequences.h"
#include "simd.h"

namespace mbert::cpu {
namespace {

// Pooling is limited by memory bandwidth: baseline vectors are wide enough.
using V = Simd<4>;
constexpr std::int64_t kLanes = 4;

// The columns of a task, and the rows of a partial sum: one running sum over thousands of rows
// would lose precision.
constexpr std::int64_t kColumns = 128;
constexpr std::int64_t kRows = 64;

template <typename T>
V::Float load(const T* from, std::int64_t count) {
  if (count >= kLanes) return V::load(from);
  T padded[kLanes] = {};
  std::memcpy(padded, from, static_cast<std::size_t>(count) * sizeof(T));
  return V::load(padded);
}

template <typename T>
void store(T* to, V::Float value, std::int64_t count) {
  if (count >= kLanes) return V::store(to, value);
  T padded[kLanes];
  V::store(padded, value);
  std::memcpy(to, padded, static_cast<std::size_t>(count) * sizeof(T));
}

// Returns the maximum; NaN if a or b is NaN.
V::Float larger(V::Float a, V::Float b) { return ((b > a) | (b != b)) ? b : a; }

template <PoolingMode kMode>
V::Float combined(V::Float a, V::Float b) {
  if constexpr (kMode == PoolingMode::kMax) return larger(a, b);
  return a + b;
}

template <PoolingMode kMode>
float divisor(float rows) {
  if constexpr (kMode == PoolingMode::kMean) return rows;
  if constexpr (kMode == PoolingMode::kMeanSqrtLen) return std::sqrt(rows);
  if constexpr (kMode == PoolingMode::kWeightedMean) return 0.5f * rows * (rows + 1.0f);
  return 1.0f;
}

// Pools `rows` rows (at least one) into out[0 .. width).
template <PoolingMode kMode, typename T>
void combine(const T* from, std::int64_t rows, std::int64_t stride, std::int64_t width, T* out) {
  const V::Float none =
      V::splat(kMode == PoolingMode::kMax ? -std::numeric_limits<float>::infinity() : 0.0f);
  V::Float total[kColumns / kLanes];
  std::fill(std::begin(total), std::end(total), none);
  for (std::int64_t first = 0; first < rows; first += kRows) {
    V::Float partial[kColumns / kLanes];
    std::fill(std::begin(partial), std::end(partial), none);
    const std::int64_t end = std::min(rows, first + kRows);
    for (std::int64_t row = first; row < end; ++row) {
      const float place = kMode == PoolingMode::kWeightedMean ? static_cast<float>(row + 1) : 1.0f;
      for (std::int64_t c = 0; c < width; c += kLanes) {
        const V::Float value = load(from + row * stride + c, width - c);
        partial[c / kLanes] = combined<kMode>(partial[c / kLanes], value * place);
      }
    }
    for (std::int64_t c = 0; c < width; c += kLanes) {
      total[c / kLanes] = combined<kMode>(total[c / kLanes], partial[c / kLanes]);
    }
  }
  const float by = divisor<kMode>(static_cast<float>(rows));
  for (std::int64_t c = 0; c < width; c += kLanes)
    store(out + c, total[c / kLanes] / by, width - c);
}

template <typename T>
void pool(const VarlenPoolingParams& params, std::int64_t sequence, std::int64_t column) {
  const std::int64_t begin = params.cu_seqlens[sequence];
  const std::int64_t rows = params.cu_seqlens[sequence + 1] - begin;
  const std::int64_t width = std::min(kColumns, params.columns - column);
  T* out = static_cast<T*>(params.pooled) + sequence * params.columns + column;
  const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(T);
  if (rows == 0) {
    std::memset(static_cast<void*>(out), 0, bytes);
    return;
  }
  const T* from = static_cast<const T*>(params.hidden) + begin * params.columns + column;
  const auto copy = [&](const T* row) { std::memcpy(static_cast<void*>(out), row, bytes); };
  switch (params.mode) {
    case PoolingMode::kCls:
      return copy(from);
    case PoolingMode::kLastToken:
      return copy(from + (rows - 1) * params.columns);
    case PoolingMode::kMean:
      return combine<PoolingMode::kMean>(from, rows, params.columns, width, out);
    case PoolingMode::kMax:
      return combine<PoolingMode::kMax>(from, rows, params.columns, width, out);
    case PoolingMode::kMeanSqrtLen:
      return combine<PoolingMode::kMeanSqrtLen>(from, rows, params.columns, width, out);
    case PoolingMode::kWeightedMean:
      return combine<PoolingMode::kWeightedMean>(from, rows, params.columns, width, out);
  }
}

}  // namespace

std::string validate(const VarlenPoolingParams& params) {
  if (params.tokens < 0 || params.columns < 0) {
    return "tokens is " + std::to_string(params.tokens) + " and columns " +
           std::to_string(params.columns) + "; neither can be negative";
  }
  return validate_sequences(params.cu_seqlens, params.sequences, params.tokens, -1);
}

void run(const VarlenPoolingParams& params, const ParallelFor& parallel_for) {
  const std::int64_t parts = (params.columns + kColumns - 1) / kColumns;
  if (params.sequences == 0 || parts == 0) return;
  const auto one = params.type == ElementType::kFloat32   ? pool<float>
                   : params.type == ElementType::kFloat16 ? pool<Float16>
                                                          : pool<BFloat16>;
  parallel_for(params.sequences * parts,
               [&](std::int64_t task) { one(params, task / parts, task % parts * kColumns); });
}

}  // namespace mbert::cpu
