// Packed pooling: one row for every sequence of packed tokens. Independent of any inference
// runtime.
#ifndef MBERT_PLUGINS_CPU_POOLING_H_
#define MBERT_PLUGINS_CPU_POOLING_H_

#include <cstdint>
#include <string>

#include "common/operator_params.h"
#include "types.h"

namespace mbert::cpu {

struct VarlenPoolingParams : mbert::VarlenPoolingParams {};

// Returns an empty string, or else what is wrong with the parameters. Reads cu_seqlens, and no
// other array.
std::string validate(const VarlenPoolingParams& params);

// Computes params.pooled. The parameters have to be valid. Sums are float32, and a sequence's
// result has the same bits at any offset, in any batch, on any number of threads.
void run(const VarlenPoolingParams& params, const ParallelFor& parallel_for);

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_POOLING_H_
