// The rotary embedding, on 16 bytes of channels at a time. Channel i is paired with channel
// i + head_dim / 2.
#ifndef MBERT_PLUGINS_CUDA_ROTATION_H_
#define MBERT_PLUGINS_CUDA_ROTATION_H_

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "arch/types.h"

namespace mbert::cuda {

// 16 bytes of elements.
template <class T>
using ChunkOf = std::conditional_t<std::is_same_v<T, float>, Float4, Words4>;

template <class T>
struct ChunkPair {
  ChunkOf<T> low;
  ChunkOf<T> high;
};

struct Rope {
  const float* table;  // [max_position, head_dim]: cosines, then sines
  int max_position;
  float sign;  // 1 or -1, a factor of the result
};

// Rotates (x, y). The fused operations are explicit, so that the compiler cannot round the results
// of two callers differently.
MBERT_DEVICE void rotate(float cosine, float sine, float& x, float& y) {
  const float rotated = fmaf(x, cosine, -(y * sine));
  y = fmaf(y, cosine, x * sine);
  x = rotated;
}

// Rotates chunk `chunk` of a row and the chunk that is paired with it.
template <class T, int kHeadDim, class Machine>
MBERT_DEVICE ChunkPair<T> rotate(Machine& machine, const Rope& rope, int position, int chunk,
                                 ChunkPair<T> pair) {
  const int row = position < rope.max_position ? position : rope.max_position - 1;
  constexpr int kElements = 16 / sizeof(T);
  const float* cosines = rope.table + static_cast<std::int64_t>(row) * kHeadDim + chunk * kElements;
  MBERT_UNROLL
  for (int first = 0; first < kElements; first += 4) {
    const Float4 cosine = machine.load_global(reinterpret_cast<const Float4*>(cosines + first));
    const Float4 sine =
        machine.load_global(reinterpret_cast<const Float4*>(cosines + kHeadDim / 2 + first));
    MBERT_UNROLL
    for (int i = 0; i < 4; i += 2) {
      const float c[2] = {rope.sign * cosine.lane[i], rope.sign * cosine.lane[i + 1]};
      const float s[2] = {rope.sign * sine.lane[i], rope.sign * sine.lane[i + 1]};
      if constexpr (std::is_same_v<T, float>) {
        rotate(c[0], s[0], pair.low.lane[i], pair.high.lane[i]);
        rotate(c[1], s[1], pair.low.lane[i + 1], pair.high.lane[i + 1]);
      } else {
        const int word = (first + i) / 2;
        Float2 x = machine.template unpack<T>(pair.low.word[word]);
        Float2 y = machine.template unpack<T>(pair.high.word[word]);
        rotate(c[0], s[0], x.x, y.x);
        rotate(c[1], s[1], x.y, y.y);
        pair.low.word[word] = machine.template pack<T>(x.x, x.y);
        pair.high.word[word] = machine.template pack<T>(y.x, y.y);
      }
    }
  }
  return pair;
}

}  // namespace mbert::cuda

#endif  // MBERT_PLUGINS_CUDA_ROTATION_H_
