// The packed attention of one block of queries: online softmax over tiles of keys.
//
// Everything is computed transposed. The lanes of a vector are queries, so that
//   scores[key][query]   = sum over d of key[d] * query[d]       (broadcast a key, load queries)
//   result[d][query]    += sum over keys of value[d] * weight    (broadcast a value, load weights)
// are one register-tiled loop, read keys and values in their memory layout, and reduce the softmax
// over keys lane by lane. Only queries and results are transposed, once per block.
//
// The bits of a result depend on its own sequence alone: blocks, groups, tiles and micro-tiles
// start at positions relative to the start of the sequence, and no lane influences another.
//
// Everything is in an anonymous namespace on purpose: see half.h.
#ifndef MBERT_PLUGINS_CPU_VARLEN_ATTENTION_KERNEL_H_
#define MBERT_PLUGINS_CPU_VARLEN_ATTENTION_KERNEL_H_

#include <cstdint>

#include "half.h"
#include "simd.h"
#include "varlen_attention_task.h"

namespace mbert::cpu {
namespace {  // NOLINT(google-build-namespaces)

// A vector has kLanes floats, a group of queries kVectors vectors, a micro-tile kRows rows:
// kVectors * kRows accumulators have to fit in the registers.
template <typename T, int kLanes, int kVectors, int kRows>
class VarlenAttentionBlock {
  using V = Simd<kLanes>;
  using Float = typename V::Float;
  using Int = typename V::Int;

  static constexpr std::int64_t kGroup = kLanes * kVectors;
  static constexpr float kInfinity = __builtin_inff();
  // Below every score, but finite: -inf would give NaN for rows that have seen no key yet.
  static constexpr float kLowest = -3.402823466e38f;

  static_assert(kGroup <= kMaxGroup && query_block(16) % kGroup == 0 &&
                query_block(256) % kGroup == 0);
  static_assert(kKeyTile % kRows == 0 && 16 % kRows == 0 && 16 % kLanes == 0);

 public:
  static void run(const VarlenAttentionTask& task) { VarlenAttentionBlock(task).run(); }

 private:
  explicit VarlenAttentionBlock(const VarlenAttentionTask& task)
      : task_(task),
        dim_(task.head_dim),
        queries_(smaller(query_block(dim_), task.length - task.first_query)),
        value_stride_(dim_ + kValuePad),
        query_(task.scratch),
        result_(query_ + kMaxQueryFloats),
        key_(result_ + kMaxQueryFloats),
        value_(key_ + kKeyTile * dim_),
        score_(value_ + kKeyTile * value_stride_),
        maximum_(score_ + kKeyTile * kGroup),
        sum_(maximum_ + kMaxQueryBlock),
        rows_(sum_ + kMaxQueryBlock) {}

  static std::int64_t smaller(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
  static std::int64_t larger(std::int64_t a, std::int64_t b) { return a < b ? b : a; }

  // Queries [first, first + count) see the keys [first_key, end_key).
  std::int64_t first_key(std::int64_t first) const {
    return task_.window < 0 ? 0 : larger(0, first - task_.window);
  }
  std::int64_t end_key(std::int64_t first, std::int64_t count) const {
    return task_.window < 0 ? task_.length : smaller(task_.length, first + count + task_.window);
  }

  void run() {
    load_queries();
    const std::int64_t end = end_key(task_.first_query, queries_);
    for (std::int64_t key = first_key(task_.first_query); key < end; key += kKeyTile) {
      const std::int64_t count = smaller(kKeyTile, end - key);
      load_keys(key, count);
      load_values(key, count);
      for (std::int64_t q = 0; q < queries_; q += kGroup) attend(q, key, count);
    }
    store_results();
  }

  // Writes the row, rotated for `position`, to `to`.
  [[gnu::always_inline]] void rotate(const T* from, std::int64_t position, float* to) const {
    const std::int64_t half = dim_ / 2;
    const float* cosine = task_.rope + position * dim_;
    const float* sine = cosine + half;
    std::int64_t d = 0;
    if constexpr (kLanes > 8) {
      // Half a row is a multiple of 8 only.
      if (half % kLanes != 0) {
        rotate_lanes<8>(from, cosine, sine, to);
        d = 8;
      }
    }
    for (; d < half; d += kLanes) rotate_lanes<kLanes>(from + d, cosine + d, sine + d, to + d);
  }

  template <int kWidth>
  [[gnu::always_inline]] void rotate_lanes(const T* from, const float* cosine, const float* sine,
                                           float* to) const {
    using W = Simd<kWidth>;
    const std::int64_t half = dim_ / 2;
    const auto c = W::load(cosine);
    const auto s = W::load(sine);
    const auto x = W::load(from);
    const auto y = W::load(from + half);
    W::store(to, x * c - y * s);
    W::store(to + half, y * c + x * s);
  }

  void load_queries() {
    const T* from = static_cast<const T*>(task_.q);
    for (std::int64_t q = 0; q < queries_; q += kGroup) {
      for (std::int64_t i = 0; i < kGroup; ++i) {
        const std::int64_t position = task_.first_query + q + i;
        float* row = rows_ + i * value_stride_;
        if (position < task_.length) {
          rotate(from + position * task_.row_stride, position, row);
        } else {
          // Lanes beyond the sequence compute on zeros; their results are not stored.
          for (std::int64_t d = 0; d < dim_; d += kLanes) V::store(row + d, Float{});
        }
      }
      float* group = query_ + q * dim_;
      for (std::int64_t i = 0; i < kGroup; i += kLanes) {
        for (std::int64_t d = 0; d < dim_; d += kLanes) {
          V::transpose(rows_ + i * value_stride_ + d, value_stride_, group + d * kGroup + i,
                       kGroup);
        }
      }
    }
    const std::int64_t padded = (queries_ + kGroup - 1) / kGroup * kGroup;
    for (std::int64_t i = 0; i < padded * dim_; i += kLanes) V::store(result_ + i, Float{});
    for (std::int64_t i = 0; i < padded; i += kLanes) {
      V::store(maximum_ + i, V::splat(kLowest));
      V::store(sum_ + i, Float{});
    }
  }

  void load_keys(std::int64_t first, std::int64_t count) {
    const T* from = static_cast<const T*>(task_.k) + first * task_.row_stride;
    for (std::int64_t i = 0; i < count; ++i) {
      rotate(from + i * task_.row_stride, first + i, key_ + i * dim_);
    }
    // The last micro-tile reads its full height; the scores of the extra rows are not used.
    for (std::int64_t i = count * dim_; i % (kRows * dim_) != 0; i += kLanes) {
      V::store(key_ + i, Float{});
    }
  }

  void load_values(std::int64_t first, std::int64_t count) {
    const T* from = static_cast<const T*>(task_.v) + first * task_.row_stride;
    for (std::int64_t i = 0; i < count; ++i) {
      const T* row = from + i * task_.row_stride;
      float* to = value_ + i * value_stride_;
      for (std::int64_t d = 0; d < dim_; d += kLanes) V::store(to + d, V::load(row + d));
    }
  }

  // Adds the keys [tile, tile + count) to the result of one group of queries, from the block's
  // q-th.
  void attend(std::int64_t q, std::int64_t tile, std::int64_t count) {
    const std::int64_t first = task_.first_query + q;
    const std::int64_t begin = larger(0, first_key(first) - tile) / kRows * kRows;
    const std::int64_t end = smaller(count, end_key(first, kGroup) - tile);
    if (begin >= end) return;

    const float* query = query_ + q * dim_;
    for (std::int64_t row = begin; row < end; row += kRows) score(query, row);
    if (task_.window >= 0) mask(first, tile, begin, end);

    float* maximum = maximum_ + q;
    Float old_maximum[kVectors];
    Float new_maximum[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      old_maximum[i] = new_maximum[i] = V::load(maximum + i * kLanes);
    }
    for (std::int64_t row = begin; row < end; ++row) {
      for (int i = 0; i < kVectors; ++i) {
        new_maximum[i] = V::max(V::load(score_ + row * kGroup + i * kLanes), new_maximum[i]);
      }
    }
    Float total[kVectors] = {};
    for (std::int64_t row = begin; row < end; ++row) {
      for (int i = 0; i < kVectors; ++i) {
        float* at = score_ + row * kGroup + i * kLanes;
        const Float weight = V::exp2(V::load(at) - new_maximum[i]);
        total[i] += weight;
        V::store(at, weight);
      }
    }
    Float correction[kVectors];
    for (int i = 0; i < kVectors; ++i) {
      correction[i] = V::exp2(old_maximum[i] - new_maximum[i]);
      float* sum = sum_ + q + i * kLanes;
      V::store(sum, V::load(sum) * correction[i] + total[i]);
      V::store(maximum + i * kLanes, new_maximum[i]);
    }
    float* result = result_ + q * dim_;
    for (std::int64_t d = 0; d < dim_; d += kRows) {
      accumulate(result + d * kGroup, d, begin, end, correction);
    }
  }

  // scores[row .. row + kRows) = scale * keys times queries.
  [[gnu::always_inline]] void score(const float* query, std::int64_t row) {
    Float tile[kRows][kVectors] = {};
    multiply<false>(tile, key_ + row * dim_, dim_, query, dim_);
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kVectors; ++i) {
        V::store(score_ + (row + r) * kGroup + i * kLanes, tile[r][i] * task_.scale);
      }
    }
  }

  // result[d .. d + kRows) = result * correction + values times weights. A tile is summed
  // separately: one running sum over thousands of keys would lose precision.
  [[gnu::always_inline]] void accumulate(float* result, std::int64_t d, std::int64_t begin,
                                         std::int64_t end, const Float* correction) {
    Float tile[kRows][kVectors] = {};
    multiply<true>(tile, value_ + begin * value_stride_ + d, value_stride_, score_ + begin * kGroup,
                   end - begin);
    for (int r = 0; r < kRows; ++r) {
      for (int i = 0; i < kVectors; ++i) {
        float* at = result + r * kGroup + i * kLanes;
        V::store(at, V::load(at) * correction[i] + tile[r][i]);
      }
    }
  }

  // tile[r] += sum over k < depth of left(r, k) * right[k], where left(r, k) is left[r * stride +
  // k], or left[r + k * stride] if kColumns.
  template <bool kColumns>
  [[gnu::always_inline]] static void multiply(Float (&tile)[kRows][kVectors], const float* left,
                                              std::int64_t stride, const float* right,
                                              std::int64_t depth) {
    for (std::int64_t k = 0; k < depth; ++k) {
      Float b[kVectors];
      for (int i = 0; i < kVectors; ++i) b[i] = V::load(right + k * kGroup + i * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const float a = kColumns ? left[r + k * stride] : left[r * stride + k];
        for (int i = 0; i < kVectors; ++i) tile[r][i] += b[i] * a;
      }
    }
  }

  // Sets the scores of keys outside a query's window to -inf.
  void mask(std::int64_t first, std::int64_t tile, std::int64_t begin, std::int64_t end) {
    const std::int64_t last = first + kGroup - 1;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t key = tile + row;
      if (key >= last - task_.window && key <= first + task_.window) continue;
      // The lanes [low, high] see this key.
      const auto low = static_cast<std::int32_t>(larger(key - task_.window - first, 0));
      const auto high = static_cast<std::int32_t>(smaller(key + task_.window - first, kGroup));
      for (int i = 0; i < kVectors; ++i) {
        float* at = score_ + row * kGroup + i * kLanes;
        const Int lane = V::lane_index() + i * kLanes;
        const Int seen = (lane >= low) & (lane <= high);
        V::store(at, seen ? V::load(at) : V::splat(-kInfinity));
      }
    }
  }

  void store_results() {
    T* to = static_cast<T*>(task_.out) + task_.first_query * task_.out_stride;
    for (std::int64_t q = 0; q < queries_; q += kGroup) {
      float* group = result_ + q * dim_;
      for (std::int64_t i = 0; i < kGroup; i += kLanes) {
        const Float inverse = 1.0f / V::load(sum_ + q + i);
        for (std::int64_t d = 0; d < dim_; ++d) {
          float* at = group + d * kGroup + i;
          V::store(at, V::load(at) * inverse);
        }
        for (std::int64_t d = 0; d < dim_; d += kLanes) {
          V::transpose(group + d * kGroup + i, kGroup, rows_ + i * value_stride_ + d,
                       value_stride_);
        }
      }
      for (std::int64_t i = 0; i < smaller(kGroup, queries_ - q); ++i) {
        const float* row = rows_ + i * value_stride_;
        T* out = to + (q + i) * task_.out_stride;
        for (std::int64_t d = 0; d < dim_; d += kLanes) V::store(out + d, V::load(row + d));
      }
    }
  }

  const VarlenAttentionTask& task_;
  const std::int64_t dim_;
  const std::int64_t queries_;
  const std::int64_t value_stride_;
  float* const query_;    // [group][head_dim][query of the group], rotated
  float* const result_;   // the same layout
  float* const key_;      // [key][head_dim], rotated
  float* const value_;    // [key][value_stride_]
  float* const score_;    // [key][query of the group], then the weights
  float* const maximum_;  // [query]
  float* const sum_;      // [query]
  float* const rows_;     // [query of the group][value_stride_]
};

}  // namespace
}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_VARLEN_ATTENTION_KERNEL_H_
