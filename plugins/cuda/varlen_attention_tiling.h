// The division of the attention into blocks, warps and tiles, and the layout of shared memory.
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_

#include <cstdint>
#include <type_traits>

#include "sequences.h"
#include "tile.h"

namespace mbert::cuda {

// kCapability_: 75 for the instructions of compute capability 7.5, 80 for those of 8.0 and newer.
template <class T, int kHeadDim_, int kCapability_>
struct VarlenAttentionTiling {
  using Element = T;
  using Layout = TileLayout<T, kHeadDim_>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kCapability = kCapability_;
  static constexpr bool kAsyncCopies = kCapability >= 80;
  static constexpr bool kTensorCores = !std::is_same_v<T, float>;
  static_assert(!std::is_same_v<T, BFloat16> || kCapability >= 80,
                "bfloat16 on tensor cores needs compute capability 8.0");

  // A warp computes 16 rows, as many as an mma has. 64 queries waste little at the edges of a
  // window of 64, and leave registers for several blocks per multiprocessor.
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kWarpQueries = 16;
  static constexpr int kQueries = kWarps * kWarpQueries;

  // At most 8 KiB of keys and 8 KiB of values: two stages of both take 32 KiB.
  static constexpr int kKeys = Layout::kRowBytes > 128 ? 8192 / Layout::kRowBytes : 64;
  static constexpr std::uint32_t kTileBytes = kKeys * Layout::kRowBytes;
  static constexpr std::uint32_t kStageBytes = 2 * kTileBytes;
  static constexpr std::uint32_t kQueryBytes = kQueries * Layout::kRowBytes;

  // Tensor cores keep the queries in registers: their tile is free before stage 1 uses its memory.
  static constexpr std::uint32_t kQueryTile = kTensorCores ? kStageBytes : 2 * kStageBytes;
  static constexpr std::uint32_t kSharedBytes =
      kTensorCores ? 2 * kStageBytes : 2 * kStageBytes + kQueryBytes;
  static_assert(!kTensorCores || kQueryBytes <= kStageBytes);

  // The number of blocks per multiprocessor that registers must suffice for: as many as fit in the
  // smallest shared memory, at most 4.
  static constexpr std::uint32_t kMultiprocessorBytes = (kCapability >= 80 ? 100 : 64) * 1024;
  static constexpr std::uint32_t kSystemBytes = kCapability >= 80 ? 1024 : 0;  // reserved per block
  static constexpr std::uint32_t kFitting = kMultiprocessorBytes / (kSharedBytes + kSystemBytes);
  static constexpr int kBlocks = kFitting < 4 ? kFitting : 4;
  static_assert(kBlocks > 0);

  static MBERT_DEVICE std::uint32_t key_tile(int stage) {
    return static_cast<std::uint32_t>(stage) * kStageBytes;
  }
  static MBERT_DEVICE std::uint32_t value_tile(int stage) { return key_tile(stage) + kTileBytes; }

  // Blocks along x. Along y there is one block per head.
  static constexpr int grid_x(int tokens, int sequences) {
    return sequence_tiles(tokens, sequences, kQueries);
  }
};

// A lane's part of a warp's matrix of 16 rows, in the layout of an mma's result: of each 8 columns,
// two in row `row` (elements 0 and 1) and two in row + 8 (elements 2 and 3).
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

// The position of a thread's elements.
struct ThreadPlace {
  int lane;
  int warp_row;  // the warp's first row in the tile of queries
  int row;       // within the warp's rows: 0 to 7
  int quad;      // within the four lanes of the row

  explicit MBERT_DEVICE ThreadPlace(int thread) {
    const auto of_thread = static_cast<unsigned>(thread);  // tells the compiler its sign
    lane = static_cast<int>(of_thread % kWarpSize);
    warp_row = static_cast<int>(of_thread / kWarpSize * 16);
    row = static_cast<int>(of_thread % kWarpSize / 4);
    quad = static_cast<int>(of_thread % 4);
  }
};

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_TILING_H_
