// Packed sequences on the device. The offsets come from a caller whom the host cannot check: every
// number here is inside the arrays whatever they hold.
#ifndef MBERT_PLUGINS_CUDA_SEQUENCES_H_
#define MBERT_PLUGINS_CUDA_SEQUENCES_H_

#include <cstdint>

#include "arch/types.h"

namespace mbert::cuda {

// Where sequence `index` begins: offsets[index] as it should be. offsets: cu_seqlens.
template <class Machine>
MBERT_DEVICE int sequence_begin(Machine& machine, const std::int32_t* offsets, int index,
                                int tokens) {
  if (index == 0) return 0;
  const int offset = machine.load_global(offsets + index);
  return offset < 0 ? 0 : offset < tokens ? offset : tokens;
}

// The tokens of sequence `index`.
struct Sequence {
  int begin;
  int length;
};

// sequences: how many there are. The one after the last is the slack: the rows that belong to none.
template <class Machine>
MBERT_DEVICE Sequence load_sequence(Machine& machine, const std::int32_t* offsets, int index,
                                    int sequences, int tokens) {
  const int begin = sequence_begin(machine, offsets, index, tokens);
  const int end = index < sequences ? sequence_begin(machine, offsets, index + 1, tokens) : tokens;
  return {begin, end > begin ? end - begin : 0};
}

// Up to kRows rows of one sequence: the work of one block.
struct SequenceTile {
  Sequence sequence;
  int first;      // row within the sequence; from its length on there is no work
  bool is_slack;  // rows that belong to no sequence
};

// The tile with that index. Sequence s, with the slack as the last one, has the tiles from
// begin(s) / kRows + s on, up to those of its successor: at least as many as it needs, and found by
// a search for s, without a sum over the lengths before it.
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

// How many tiles there can be, the slack included.
constexpr int sequence_tiles(int tokens, int sequences, int rows) {
  return (tokens + rows - 1) / rows + sequences;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_SEQUENCES_H_
