// The two matrix products of attention in float32: one warp computes 16 queries with ordinary
// multiply-adds, because tensor cores would round the operands. A lane holds the same elements of a
// result as with mma (tensor_cores.h), so that both share the softmax between the products.
#ifndef MBERT_PLUGINS_CUDA_CUDA_CORES_H_
#define MBERT_PLUGINS_CUDA_CUDA_CORES_H_

#include <cmath>
#include <cstdint>

#include "varlen_attention_tiling.h"

namespace mbert::cuda {

template <class Tiling, class Machine>
class CudaCores {
  using Layout = typename Tiling::Layout;
  static constexpr int kKeys = Tiling::kKeys;
  static constexpr int kHeadDim = Tiling::kHeadDim;

 public:
  MBERT_DEVICE CudaCores(Machine& machine, const ThreadPlace& place)
      : machine_(machine), place_(place) {}

  // Leaves the queries in their tile.
  MBERT_DEVICE void load_queries(std::uint32_t tile) { queries_ = tile; }

  // scores = queries * keys^T.
  MBERT_DEVICE void multiply_keys(std::uint32_t tile, WarpMatrix<kKeys>& scores) {
    clear(scores);
    const int row = place_.warp_row + place_.row;
    MBERT_UNROLL_BY(2)
    for (int chunk = 0; chunk < Layout::kChunks; ++chunk) {
      const Float4 upper = load(queries_, row, chunk);
      const Float4 lower = load(queries_, row + 8, chunk);
      MBERT_UNROLL
      for (int n = 0; n < kKeys / 8; ++n) {
        MBERT_UNROLL
        for (int i = 0; i < 2; ++i) {
          const Float4 key = load(tile, 8 * n + 2 * place_.quad + i, chunk);
          MBERT_UNROLL
          for (int c = 0; c < 4; ++c) {
            scores[n][i] = fmaf(upper.lane[c], key.lane[c], scores[n][i]);
            scores[n][2 + i] = fmaf(lower.lane[c], key.lane[c], scores[n][2 + i]);
          }
        }
      }
    }
  }

  // context += weights * values. A lane holds the weights of a quarter of the keys, and gets the
  // others from its neighbours; the four lanes of a row process different keys at the same time.
  MBERT_DEVICE void add_values(std::uint32_t tile, const WarpMatrix<kKeys>& weights,
                               WarpMatrix<kHeadDim>& context) {
    MBERT_UNROLL_BY(1)
    for (int step = 0; step < 4; ++step) {
      MBERT_UNROLL
      for (int n = 0; n < kKeys / 8; ++n) {
        MBERT_UNROLL
        for (int i = 0; i < 2; ++i) {
          const float upper = machine_.shuffle_xor(weights[n][i], step);
          const float lower = machine_.shuffle_xor(weights[n][2 + i], step);
          const int key = 8 * n + 2 * (place_.quad ^ step) + i;
          MBERT_UNROLL
          for (int m = 0; m < kHeadDim / 16; ++m) {
            const Float4 value = load(tile, key, 4 * m + place_.quad);
            MBERT_UNROLL
            for (int c = 0; c < 4; ++c) {
              float (&part)[4] = context[2 * m + c / 2];
              part[c % 2] = fmaf(upper, value.lane[c], part[c % 2]);
              part[2 + c % 2] = fmaf(lower, value.lane[c], part[2 + c % 2]);
            }
          }
        }
      }
    }
  }

  // The channel of element 0 of context[n]; element 1 is the next channel. It differs from mma,
  // because a lane reads 16 bytes of values at a time.
  MBERT_DEVICE int channel(int n) const { return n / 2 * 16 + 4 * place_.quad + n % 2 * 2; }

 private:
  MBERT_DEVICE Float4 load(std::uint32_t tile, int row, int chunk) {
    return machine_.template load_shared<Float4>(tile + Layout::offset(row, chunk));
  }

  Machine& machine_;
  const ThreadPlace& place_;
  std::uint32_t queries_ = 0;
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_CUDA_CORES_H_
