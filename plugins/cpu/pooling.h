// Packed pooling: one row for every sequence of packed tokens. Independent of any inference
// runtime.
#ifndef MBERT_PLUGINS_CPU_POOLING_H_
#define MBERT_PLUGINS_CPU_POOLING_H_

#include <cstdint>
#include <string>

#include "types.h"

namespace mbert::cpu {

struct VarlenPoolingParams {
  ElementType type = ElementType::kFloat32;  // of hidden and pooled
  const void* hidden = nullptr;              // [tokens, columns]
  std::int64_t tokens = 0;
  std::int64_t columns = 0;
  // [sequences + 1]: offsets from 0, not decreasing; the last may be less than tokens.
  const std::int32_t* cu_seqlens = nullptr;
  std::int64_t sequences = 0;
  PoolingMode mode = PoolingMode::kMean;
  void* pooled = nullptr;  // [sequences, columns]; the row of an empty sequence becomes zeros
};

// Returns an empty string, or else what is wrong with the parameters. Reads cu_seqlens, and no
// other array.
std::string validate(const VarlenPoolingParams& params);

// Computes params.pooled. The parameters have to be valid. Sums are float32, and a sequence's
// result has the same bits at any offset, in any batch, on any number of threads.
void run(const VarlenPoolingParams& params, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_POOLING_H_
