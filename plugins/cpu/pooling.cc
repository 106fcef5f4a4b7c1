#include "pooling.h"

#include <algorithm>
#include <cstring>

#include "sequences.h"
#include "simd.h"
#include "storage.h"

namespace mbert::cpu {
namespace {

// Memory is the limit here: what every processor has is wide enough.
using V = Simd<4>;
constexpr std::int64_t kLanes = 4;

// A task's columns, and the rows that are summed before the sum is added to the total: one running
// sum over thousands of rows would lose digits.
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

// out[0 .. width) = the mean of `rows` rows.
template <typename T>
void mean(const T* from, std::int64_t rows, std::int64_t stride, std::int64_t width, T* out) {
  V::Float total[kColumns / kLanes] = {};
  for (std::int64_t first = 0; first < rows; first += kRows) {
    V::Float partial[kColumns / kLanes] = {};
    const std::int64_t end = std::min(rows, first + kRows);
    for (std::int64_t row = first; row < end; ++row) {
      for (std::int64_t c = 0; c < width; c += kLanes) {
        partial[c / kLanes] += load(from + row * stride + c, width - c);
      }
    }
    for (std::int64_t c = 0; c < width; c += kLanes) total[c / kLanes] += partial[c / kLanes];
  }
  const auto count = static_cast<float>(rows);
  for (std::int64_t c = 0; c < width; c += kLanes)
    store(out + c, total[c / kLanes] / count, width - c);
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
  if (params.mode == PoolingMode::kCls) {
    std::memcpy(static_cast<void*>(out), from, bytes);
  } else {
    mean(from, rows, params.columns, width, out);
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
