// Types in the public interfaces of the CPU kernels.
#ifndef MBERT_PLUGINS_CPU_TYPES_H_
#define MBERT_PLUGINS_CPU_TYPES_H_

#include <cstdint>
#include <functional>

#include "common/operator_types.h"

namespace mbert::cpu {

using mbert::ElementType;
using mbert::PoolingMode;

// Calls fn(0) to fn(count - 1), in any order on any threads, and returns when all are done. The
// kernels use the caller's threads: a second pool would compete with it for cores.
using ParallelFor =
    std::function<void(std::int64_t count, const std::function<void(std::int64_t)>& fn)>;

}  // namespace mbert::cpu

#endif  // MBERT_PLUGINS_CPU_TYPES_H_
