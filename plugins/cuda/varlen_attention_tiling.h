// How the attention is cut into blocks, warps and tiles, and where the tiles lie in shared memory.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_

#include <cstdint>
#include <type_traits>

#include "sequences.h"
#include "tile.h"

namespace mbert::cuda {

// kCapability_: 75 for the instructions of that compute capability, 80 for those from 8.0 on.
template <class T, int kHeadDim_, int kCapability_>
struct VarlenAttentionTiling {
  using Element = T;
  using Layout = TileLayout<T, kHeadDim_>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kCapability = kCapability_;
  static constexpr bool kAsyncCopies = kCapability >= 80;
  static constexpr bool kTensorCores = !std::is_same_v<T, float>;
  static_assert(!std::is_same_v<T, BFloat16> || kCapability >= 80,
                "tensor cores take bfloat16 from compute capability 8.0 on");

  // A warp computes 16 rows, what one mma takes. 64 queries waste little on the edges of a window
  // of 64, and leave registers for several blocks on a multiprocessor.
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kWarpQueries = 16;
  static constexpr int kQueries = kWarps * kWarpQueries;

  // At most 8 KiB of keys, and as much of values: two stages of both take 32 KiB.
  static constexpr int kKeys = Layout::kRowBytes > 128 ? 8192 / Layout::kRowBytes : 64;
  static constexpr std::uint32_t kTileBytes = kKeys * Layout::kRowBytes;
  static constexpr std::uint32_t kStageBytes = 2 * kTileBytes;
  static constexpr std::uint32_t kQueryBytes = kQueries * Layout::kRowBytes;

  // Tensor cores keep the queries in registers: the tile is gone before stage 1 takes its place.
  static constexpr std::uint32_t kQueryTile = kTensorCores ? kStageBytes : 2 * kStageBytes;
  static constexpr std::uint32_t kSharedBytes =
      kTensorCores ? 2 * kStageBytes : 2 * kStageBytes + kQueryBytes;
  static_assert(!kTensorCores || kQueryBytes <= kStageBytes);

  // The blocks on a multiprocessor that registers have to be left for: as many as its shared memory
  // takes where it is smallest, but not more than 4.
  static constexpr std::uint32_t kMultiprocessorBytes = (kCapability >= 80 ? 100 : 64) * 1024;
  static constexpr std::uint32_t kSystemBytes = kCapability >= 80 ? 1024 : 0;  // of every block
  static constexpr std::uint32_t kFitting = kMultiprocessorBytes / (kSharedBytes + kSystemBytes);
  static constexpr int kBlocks = kFitting < 4 ? kFitting : 4;
  static_assert(kBlocks > 0);

  static MBERT_DEVICE std::uint32_t key_tile(int stage) {
    return static_cast<std::uint32_t>(stage) * kStageBytes;
  }
  static MBERT_DEVICE std::uint32_t value_tile(int stage) { return key_tile(stage) + kTileBytes; }

  // Blocks along x; along y there is one for each head.
  static constexpr int grid_x(int tokens, int sequences) {
    return sequence_tiles(tokens, sequences, kQueries);
  }
};

// A lane's part of a warp's matrix of 16 rows, as an mma leaves it: of each 8 columns, two in row
// `row` (elements 0 and 1) and two in row + 8 (elements 2 and 3).
template <int kColumns>
using WarpMatrix = float[kColumns / 8][4];

template <int kRows>
MBERT_DEVICE void clear(float (&matrix)[kRows][4]) {
  MBERT_UNROLL
  for (auto& part : matrix) {
    MBERT_UNROLL
    for (float& element : part) element = 0.0f;
  }
}

// Where a thread's elements are.
struct ThreadPlace {
  int lane;
  int warp_row;  // of the warp's first row within the tile of queries
  int row;       // within the warp's rows: 0 to 7
  int quad;      // within the four lanes of the row

  explicit MBERT_DEVICE ThreadPlace(int thread) {
    const auto of_thread = static_cast<unsigned>(thread);  // the compiler has to know its sign
    lane = static_cast<int>(of_thread % kWarpSize);
    warp_row = static_cast<int>(of_thread / kWarpSize * 16);
    row = static_cast<int>(of_thread % kWarpSize / 4);
    quad = static_cast<int>(of_thread % 4);
  }
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_
