// Pooling of packed sequences: one row for each. Independent of any inference runtime.
#ifndef MBERT_PLUGINS_CPU_POOLING_H_
#define MBERT_PLUGINS_CPU_POOLING_H_

#include <cstdint>
#include <string>

#include "common/operator_params.h"
#include "types.h"

namespace mbert::cpu {

struct VarlenPoolingParams : mbert::VarlenPoolingParams {};

// Checks all parameters; reads cu_seqlens, but no other array. Returns an empty string, or else an
// error message.
std::string validate(const VarlenPoolingParams& params);

// Computes params.pooled. The parameters must be valid. Sums are float32. A sequence's result has
// the same bits at any offset, in any batch, on any number of threads.
void run(const VarlenPoolingParams& params, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_POOLING_H_
