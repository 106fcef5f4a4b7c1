// The two matrix products of attention in float16 or bfloat16: one warp computes 16 queries on
// tensor cores, with float32 accumulation. cuda_cores.h has the same interface for float32.
#ifndef MBERT_PLUGINS_CUDA_TENSOR_CORES_H_
#define MBERT_PLUGINS_CUDA_TENSOR_CORES_H_

#include <cstdint>

#include "varlen_attention_tiling.h"

namespace mbert::cuda {

template <class Tiling, class Machine>
class TensorCores {
  using T = typename Tiling::Element;
  using Layout = typename Tiling::Layout;
  static constexpr int kKeys = Tiling::kKeys;
  static constexpr int kHeadDim = Tiling::kHeadDim;

 public:
  MBERT_DEVICE TensorCores(Machine& machine, const ThreadPlace& place)
      : machine_(machine), place_(place) {}

  // Loads the warp's queries into registers. The tile is free when all warps have done so.
  MBERT_DEVICE void load_queries(std::uint32_t tile) {
    MBERT_UNROLL
    for (int k = 0; k < kHeadDim / 16; ++k) {
      machine_.ldmatrix_x4(queries_[k], tile + square(place_.warp_row, 2 * k));
    }
  }

  // scores = queries * keys^T.
  MBERT_DEVICE void multiply_keys(std::uint32_t tile, WarpMatrix<kKeys>& scores) {
    clear(scores);
    MBERT_UNROLL
    for (int k = 0; k < kHeadDim / 16; ++k) {
      MBERT_UNROLL
      for (int n = 0; n < kKeys / 8; n += 2) {
        // A row of the tile is a column of the operand: upper and lower rows are two operands.
        std::uint32_t keys[4];
        machine_.ldmatrix_x4(keys, tile + square(8 * n, 2 * k));
        multiply(scores[n], queries_[k], keys[0], keys[2]);
        multiply(scores[n + 1], queries_[k], keys[1], keys[3]);
      }
    }
  }

  // context += weights * values, the weights rounded to T.
  MBERT_DEVICE void add_values(std::uint32_t tile, const WarpMatrix<kKeys>& weights,
                               WarpMatrix<kHeadDim>& context) {
    MBERT_UNROLL
    for (int k = 0; k < kKeys / 16; ++k) {
      // The result of an mma has the layout of operand A of the next one.
      const std::uint32_t a[4] = {
          machine_.template pack<T>(weights[2 * k][0], weights[2 * k][1]),
          machine_.template pack<T>(weights[2 * k][2], weights[2 * k][3]),
          machine_.template pack<T>(weights[2 * k + 1][0], weights[2 * k + 1][1]),
          machine_.template pack<T>(weights[2 * k + 1][2], weights[2 * k + 1][3])};
      MBERT_UNROLL
      for (int n = 0; n < kHeadDim / 8; n += 2) {
        // Transposed while loading: left and right columns are two operands.
        std::uint32_t values[4];
        machine_.ldmatrix_x4_trans(values, tile + square(16 * k, n));
        multiply(context[n], a, values[0], values[1]);
        multiply(context[n + 1], a, values[2], values[3]);
      }
    }
  }

  // The channel of element 0 of context[n]; element 1 is the next channel.
  MBERT_DEVICE int channel(int n) const { return 8 * n + 2 * place_.quad; }

 private:
  // Returns this lane's address for ldmatrix, for the 16 x 16 elements that start at a row and
  // chunk of a tile. The four matrices have the order of operand A: upper left, lower left, upper
  // right, lower right.
  MBERT_DEVICE std::uint32_t square(int row, int chunk) const {
    return Layout::offset(row + place_.lane % 16, chunk + place_.lane / 16);
  }

  // d += a * b: 16 rows, 8 columns, depth 16.
  MBERT_DEVICE void multiply(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                             std::uint32_t b1) {
    if constexpr (Tiling::kCapability >= 80) {
      const std::uint32_t b[2] = {b0, b1};
      machine_.template mma_k16<T>(d, a, b);
    } else {
      const std::uint32_t a_left[2] = {a[0], a[1]};
      const std::uint32_t a_right[2] = {a[2], a[3]};
      const std::uint32_t b_upper[1] = {b0};
      const std::uint32_t b_lower[1] = {b1};
      machine_.mma_k8(d, a_left, b_upper);
      machine_.mma_k8(d, a_right, b_lower);
    }
  }

  Machine& machine_;
  const ThreadPlace& place_;
  std::uint32_t queries_[kHeadDim / 16][4];
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_TENSOR_CORES_H_
