// Packed sequences on the device. The host cannot check the offsets; the functions here return
// positions inside the arrays for any offsets.
#ifndef MBERT_PLUGINS_CUDA_SEQUENCES_H_
#define MBERT_PLUGINS_CUDA_SEQUENCES_H_

#include <cstdint>

#include "arch/types.h"

namespace mbert::cuda {

// Returns the first row of sequence `index`: offsets[index], clamped. offsets: cu_seqlens.
template <class Machine>
MBERT_DEVICE int sequence_begin(Machine& machine, const std::int32_t* offsets, int index,
                                int tokens) {
  if (index == 0) return 0;
  const int offset = machine.load_global(offsets + index);
  return offset < 0 ? 0 : offset < tokens ? offset : tokens;
}

// The rows of one sequence.
struct Sequence {
  int begin;
  int length;
};

// Returns sequence `index`. index == sequences is the slack: the rows after the last sequence.
template <class Machine>
MBERT_DEVICE Sequence load_sequence(Machine& machine, const std::int32_t* offsets, int index,
                                    int sequences, int tokens) {
  const int begin = sequence_begin(machine, offsets, index, tokens);
  const int end = index < sequences ? sequence_begin(machine, offsets, index + 1, tokens) : tokens;
  return {begin, end > begin ? end - begin : 0};
}

// Up to kRows rows of one sequence, which one block computes.
struct SequenceTile {
  Sequence sequence;
  int first;      // row within the sequence; the tile is empty if it is not below the length
  bool is_slack;  // rows that belong to no sequence
};

// Returns the tile of that index. Sequence s (the slack counts as the last one) owns the tiles from
// begin(s) / kRows + s to the first tile of its successor. These are at least as many as it needs,
// and s is found by binary search, without summing the lengths before it.
template <int kRows, class Machine>
MBERT_DEVICE SequenceTile find_sequence_tile(Machine& machine, const std::int32_t* offsets,
                                             int sequences, int tokens, int index) {
  const auto first_tile = [&](int s) {
    return sequence_begin(machine, offsets, s, tokens) / kRows + s;
  };
  int low = 0;
  int high = sequences;
  while (low < high) {
    const int middle = high - (high - low) / 2;
    if (first_tile(middle) <= index) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return {load_sequence(machine, offsets, low, sequences, tokens),
          (index - first_tile(low)) * kRows, low == sequences};
}

// Returns the maximum number of tiles, including those of the slack.
constexpr int sequence_tiles(int tokens, int sequences, int rows) {
  return (tokens + rows - 1) / rows + sequences;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_SEQUENCES_H_
