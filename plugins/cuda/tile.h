// Tiles of matrices in shared memory, which the threads of a block fill and rotate together.
#ifndef MBERT_PLUGINS_CUDA_TILE_H_
#define MBERT_PLUGINS_CUDA_TILE_H_

#include <cstdint>

#include "arch/types.h"
#include "rotation.h"

namespace mbert::cuda {

// [rows][kColumns] of T, in chunks of 16 bytes. The chunks of a row are permuted, so that the same
// chunk of 8 consecutive rows is in 8 different groups of banks: ldmatrix reads them without
// conflict.
template <class T, int kColumns>
struct TileLayout {
  using Element = T;
  static constexpr int kChunkElements = 16 / sizeof(T);
  static constexpr int kChunks = kColumns / kChunkElements;
  static constexpr unsigned kRowBytes = kChunks * 16;

  // Bytes from the start of the tile. Linear in steps of 8 rows.
  static MBERT_DEVICE std::uint32_t offset(int row, int chunk) {
    constexpr unsigned kLineBytes = 128;  // all banks
    constexpr unsigned kRowsInLine = kRowBytes < kLineBytes ? kLineBytes / kRowBytes : 1;
    constexpr unsigned kPermuted = kChunks < 8 ? kChunks : 8;
    // Unsigned, and for the permuted part alone, so that the compiler folds everything that does
    // not depend on the lane.
    const auto of_row = static_cast<unsigned>(row);
    const auto of_chunk = static_cast<unsigned>(chunk);
    const unsigned place = of_chunk / kPermuted * kPermuted +
                           (of_chunk % kPermuted ^ of_row / kRowsInLine % kPermuted);
    return of_row * kRowBytes + place * 16;
  }
};

// Calls fn(row, chunk) for each pair of chunks (chunk, chunk + kChunks / 2) of this thread. A pair
// holds channels i and i + head_dim / 2: the thread copies both, and can rotate them before other
// threads see them.
template <class Layout, int kRows, int kThreads, class Function>
MBERT_DEVICE void for_own_pairs(int thread, const Function& fn) {
  constexpr unsigned kPairs = Layout::kChunks / 2;
  constexpr int kRowsAtOnce = kThreads / kPairs;
  static_assert(kThreads % kPairs == 0 && kRows % kRowsAtOnce == 0);
  const int row = static_cast<int>(static_cast<unsigned>(thread) / kPairs);
  const int chunk = static_cast<int>(static_cast<unsigned>(thread) % kPairs);
  MBERT_UNROLL
  for (int first = 0; first < kRows; first += kRowsAtOnce) fn(first + row, chunk);
}

// The rows of one sequence, in a matrix of tokens in global memory.
template <class T>
struct Rows {
  T* matrix;
  unsigned stride;  // elements
  int begin;        // of the sequence

  // Unsigned, so that the product is one instruction.
  MBERT_DEVICE T* row(int index) const {
    return matrix + static_cast<std::uint64_t>(static_cast<unsigned>(begin + index)) * stride;
  }
};

// Copies kRows rows, starting at `first`. Rows beyond `length` become zeros, because a weight of 0
// must be multiplied by a finite number. Asynchronous if the capability supports it: see
// wait_for_copies().
template <class Layout, int kRows, class Tiling, class Machine>
MBERT_DEVICE void copy_tile(Machine& machine, std::uint32_t tile,
                            const Rows<const typename Layout::Element>& rows, int first,
                            int length) {
  using Chunk = ChunkOf<typename Layout::Element>;
  for_own_pairs<Layout, kRows, Tiling::kThreads>(machine.thread(), [&](int row, int chunk) {
    const bool exists = first + row < length;
    const auto* from = reinterpret_cast<const Chunk*>(rows.row(first + row));
    MBERT_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int c = chunk + half * Layout::kChunks / 2;
      const std::uint32_t to = tile + Layout::offset(row, c);
      if constexpr (Tiling::kAsyncCopies) {
        machine.cp_async16(to, from + c, exists);
      } else {
        machine.store_shared(to, exists ? machine.load_global(from + c) : Chunk{});
      }
    }
  });
}

// Ends a group of copies.
template <class Tiling, class Machine>
MBERT_DEVICE void commit_copies(Machine& machine) {
  if constexpr (Tiling::kAsyncCopies) machine.cp_async_commit();
}

// Waits for this thread's copies, except the last kNewest groups committed. A barrier after it
// makes them visible to other threads.
template <class Tiling, int kNewest, class Machine>
MBERT_DEVICE void wait_for_copies(Machine& machine) {
  if constexpr (Tiling::kAsyncCopies) machine.template cp_async_wait<kNewest>();
}

// Rotates the chunks that this thread copied with copy_tile().
template <class Layout, int kRows, class Tiling, class Machine>
MBERT_DEVICE void rotate_tile(Machine& machine, std::uint32_t tile, const Rope& rope, int first,
                              int length) {
  using T = typename Layout::Element;
  for_own_pairs<Layout, kRows, Tiling::kThreads>(machine.thread(), [&](int row, int chunk) {
    if (first + row >= length) return;
    const std::uint32_t low = tile + Layout::offset(row, chunk);
    const std::uint32_t high = tile + Layout::offset(row, chunk + Layout::kChunks / 2);
    ChunkPair<T> pair = {machine.template load_shared<ChunkOf<T>>(low),
                         machine.template load_shared<ChunkOf<T>>(high)};
    pair = rotate<T, Tiling::kHeadDim>(machine, rope, first + row, chunk, pair);
    machine.store_shared(low, pair.low);
    machine.store_shared(high, pair.high);
  });
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_TILE_H_
