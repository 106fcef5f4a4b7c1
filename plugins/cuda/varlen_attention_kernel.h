// The packed attention: one block of threads for each head and tile of queries of one sequence. The
// machine is a template parameter: a GPU (arch/ptx.cuh) or its emulation (emulation/gpu.h).
#ifndef MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_KERNEL_H_
#define MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_KERNEL_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "cuda_cores.h"
#include "online_softmax.h"
#include "rotation.h"
#include "sequences.h"
#include "tensor_cores.h"
#include "tile.h"
#include "varlen_attention_params.h"
#include "varlen_attention_tiling.h"

namespace mbert::cuda {

// The arrays, restricted to one sequence and one head.
template <class T>
struct HeadArrays {
  const VarlenAttentionArguments<T>& arguments;
  int begin;  // of the sequence
  int hidden;
  int column;  // of the head

  MBERT_DEVICE Rows<const T> queries() const { return rows(arguments.qkv, 3, 0); }
  MBERT_DEVICE Rows<const T> keys() const { return rows(arguments.qkv, 3, 1); }
  MBERT_DEVICE Rows<const T> values() const { return rows(arguments.qkv, 3, 2); }
  MBERT_DEVICE Rows<T> rotated_keys() const { return rows(arguments.rotated_keys, 1, 0); }
  MBERT_DEVICE Rows<T> context() const { return rows(arguments.context, 1, 0); }

  // The rows of one of `parts` matrices that are side by side in an array.
  template <class Element>
  MBERT_DEVICE Rows<Element> rows(Element* array, int parts, int part) const {
    return {array + part * hidden + column, static_cast<unsigned>(parts * hidden), begin};
  }
};

template <class Tiling, class Machine>
MBERT_DEVICE SequenceTile find_query_tile(
    Machine& machine, const VarlenAttentionArguments<typename Tiling::Element>& arguments) {
  return find_sequence_tile<Tiling::kQueries>(machine, arguments.cu_seqlens, arguments.sequences,
                                              arguments.tokens, machine.block_x());
}

// Writes the rotated keys of one tile and head to the workspace: the kernel before
// varlen_attention<..., KeyRotation::kWorkspace>, with the same grid, without shared memory.
template <class Tiling, class Machine>
MBERT_DEVICE void rotate_keys(Machine& machine,
                              const VarlenAttentionArguments<typename Tiling::Element>& arguments) {
  using T = typename Tiling::Element;
  using Layout = typename Tiling::Layout;
  using Chunk = ChunkOf<T>;
  constexpr int kHeadDim = Tiling::kHeadDim;
  const SequenceTile tile = find_query_tile<Tiling>(machine, arguments);
  if (tile.is_slack) return;
  const HeadArrays<T> arrays = {arguments, tile.sequence.begin, arguments.num_heads * kHeadDim,
                                machine.block_y() * kHeadDim};
  const Rope rope = {arguments.rope, arguments.max_position, 1.0f};
  for_own_pairs<Layout, Tiling::kQueries, Tiling::kThreads>(
      machine.thread(), [&](int tile_row, int chunk) {
        const int row = tile.first + tile_row;
        if (row >= tile.sequence.length) return;
        const auto* from = reinterpret_cast<const Chunk*>(arrays.keys().row(row));
        auto* to = reinterpret_cast<Chunk*>(arrays.rotated_keys().row(row));
        const int partner = chunk + Layout::kChunks / 2;
        const ChunkPair<T> pair = rotate<T, kHeadDim>(
            machine, rope, row, chunk,
            {machine.load_global(from + chunk), machine.load_global(from + partner)});
        machine.store_global(to + chunk, pair.low);
        machine.store_global(to + partner, pair.high);
      });
}

// Sets the rows of a tile that belong to no sequence to zero.
template <class Tiling, class Machine>
MBERT_DEVICE void clear_rows(Machine& machine, const Rows<typename Tiling::Element>& context,
                             int first, int length) {
  using Layout = typename Tiling::Layout;
  using Chunk = ChunkOf<typename Tiling::Element>;
  for_own_pairs<Layout, Tiling::kQueries, Tiling::kThreads>(
      machine.thread(), [&](int row, int chunk) {
        if (first + row >= length) return;
        auto* to = reinterpret_cast<Chunk*>(context.row(first + row));
        machine.store_global(to + chunk, Chunk{});
        machine.store_global(to + chunk + Layout::kChunks / 2, Chunk{});
      });
}

// Replaces the scores of keys outside the window or the sequence. query: the row of elements 0 and
// 1; key: the key of element 0 of the first part.
template <int kParts>
MBERT_DEVICE void mask_scores(int query, int key, int window, int length,
                              float (&scores)[kParts][4]) {
  const auto width = 2 * static_cast<unsigned>(window);
  MBERT_UNROLL
  for (int n = 0; n < kParts; ++n) {
    MBERT_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int column = key + 8 * n + i % 2;
      // From 0 to the width, in one comparison.
      const int from_edge = column - (query + i / 2 * 8) + window;
      if (static_cast<unsigned>(from_edge) > width || column >= length) scores[n][i] = -INFINITY;
    }
  }
}

// Writes two neighbouring elements.
template <class Machine, class T>
MBERT_DEVICE void store_pair(Machine& machine, T* to, float first, float second) {
  if constexpr (std::is_same_v<T, float>) {
    machine.store_global(reinterpret_cast<Float2*>(to), Float2{first, second});
  } else {
    machine.store_global(reinterpret_cast<std::uint32_t*>(to),
                         machine.template pack<T>(first, second));
  }
}

// Computes the context of one tile of queries and one head. Grid: Tiling::grid_x() times the heads.
template <class Tiling, KeyRotation kRotation, class Machine>
MBERT_DEVICE void varlen_attention(
    Machine& machine, const VarlenAttentionArguments<typename Tiling::Element>& arguments) {
  using T = typename Tiling::Element;
  using Layout = typename Tiling::Layout;
  using Products = std::conditional_t<Tiling::kTensorCores, TensorCores<Tiling, Machine>,
                                      CudaCores<Tiling, Machine>>;
  constexpr int kQueries = Tiling::kQueries;
  constexpr int kKeys = Tiling::kKeys;
  constexpr int kHeadDim = Tiling::kHeadDim;

  const SequenceTile tile = find_query_tile<Tiling>(machine, arguments);
  const int length = tile.sequence.length;
  if (tile.first >= length) return;
  const HeadArrays<T> arrays = {arguments, tile.sequence.begin, arguments.num_heads * kHeadDim,
                                machine.block_y() * kHeadDim};
  if (tile.is_slack) {
    clear_rows<Tiling>(machine, arrays.context(), tile.first, length);
    return;
  }

  // The keys that at least one query sees. Tiles start at multiples of kKeys within the sequence,
  // so that the sums of a row do not depend on the position of the sequence.
  const int last = tile.first + kQueries - 1;
  const int nearest = tile.first - arguments.window;
  const int begin = nearest > 0 ? nearest / kKeys * kKeys : 0;
  const int end = last + arguments.window < length ? last + arguments.window + 1 : length;
  // The keys that all queries see.
  const int all_begin = last - arguments.window;
  const int all_end =
      tile.first + arguments.window < length ? tile.first + arguments.window + 1 : length;

  const auto copy_keys_and_values = [&](int stage, int key) {
    Rows<const T> keys = arrays.keys();
    if constexpr (kRotation == KeyRotation::kWorkspace) {
      const Rows<T> rotated = arrays.rotated_keys();
      keys = {rotated.matrix, rotated.stride, rotated.begin};
    }
    copy_tile<Layout, kKeys, Tiling>(machine, Tiling::key_tile(stage), keys, key, length);
    copy_tile<Layout, kKeys, Tiling>(machine, Tiling::value_tile(stage), arrays.values(), key,
                                     length);
    commit_copies<Tiling>(machine);
  };
  copy_tile<Layout, kQueries, Tiling>(machine, Tiling::kQueryTile, arrays.queries(), tile.first,
                                      length);
  commit_copies<Tiling>(machine);
  copy_keys_and_values(0, begin);

  const ThreadPlace place(machine.thread());
  Products products(machine, place);
  wait_for_copies<Tiling, 1>(machine);
  const Rope query_rope = {arguments.rope, arguments.max_position, arguments.query_sign};
  rotate_tile<Layout, kQueries, Tiling>(machine, Tiling::kQueryTile, query_rope, tile.first,
                                        length);
  machine.barrier();
  products.load_queries(Tiling::kQueryTile);

  WarpMatrix<kHeadDim> context;
  clear(context);
  OnlineSoftmax<!Tiling::kTensorCores> softmax(arguments.scale);
  const int query = tile.first + place.warp_row + place.row;
  for (int key = begin, stage = 0; key < end; key += kKeys, stage ^= 1) {
    wait_for_copies<Tiling, 0>(machine);
    if constexpr (kRotation == KeyRotation::kFused) {
      const Rope key_rope = {arguments.rope, arguments.max_position, 1.0f};
      rotate_tile<Layout, kKeys, Tiling>(machine, Tiling::key_tile(stage), key_rope, key, length);
    }
    // The tiles of this stage are complete, and the other stage is no longer in use.
    machine.barrier();
    if (key + kKeys < end) copy_keys_and_values(stage ^ 1, key + kKeys);

    WarpMatrix<kKeys> scores;
    products.multiply_keys(Tiling::key_tile(stage), scores);
    if (key < all_begin || key + kKeys > all_end) {
      mask_scores(query, key + 2 * place.quad, arguments.window, length, scores);
    }
    softmax.update(machine, scores, context);
    products.add_values(Tiling::value_tile(stage), scores, context);
  }

  softmax.finish(machine, context);
  MBERT_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = query + 8 * half;
    if (row >= length) continue;
    T* out = arrays.context().row(row);
    MBERT_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n) {
      store_pair(machine, out + products.channel(n), context[n][2 * half],
                 context[n][2 * half + 1]);
    }
  }
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_VARLEN_ATTENTION_KERNEL_H_
